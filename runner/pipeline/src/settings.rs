//! The `with` table as the JSON that a plugin gets, with its references filled in.
//!
//! A value from outside is data here, so three things are looked at wherever a plugin may start something: it is never the program
//! (first of an array under one of [`PROGRAMS`]), never a piece of shell (`script`, or what follows `sh -c`), and where an argument begins
//! with it, it can't turn into an option.

use crate::diagnostic::Diagnostic;
use crate::expand::{Expander, Filled, Place};
use crate::node::{Node, Value};
use crate::scalar::Scalar;

/// Settings that hold a program and its arguments, whatever plugin has them.
const PROGRAMS: [&str; 7] = ["run", "command", "shell", "exec", "argv", "cmd", "entrypoint"];

const NO_PROGRAM: (&str, &str) =
    ("a value from outside can't choose the program", "write the program; a matrix value or an input of type \"choice\" may stand here");

/// Everybody on the machine can read the arguments of a program.
const NO_ARGUMENT: (&str, &str) = (
    "a secret can't be an argument of a program or a part of a script",
    "pass it as a variable: `env = { TOKEN = \"${secret.token}\" }`, with \"env\" among the secret's `to`",
);

pub(crate) struct Settings {
    pub json: serde_json::Value,
    /// JSON pointers to strings that are not complete yet.
    pub late: Vec<String>,
    /// Strings that are one reference to a number or a boolean: where the schema wants no string, this is meant.
    pub typed: Vec<(String, serde_json::Value)>,
    /// There was no mistake.
    pub good: bool,
}

/// Mistakes are pushed; a string with one counts as not complete, so that everything else can still be looked at.
pub(crate) fn expand(expander: &mut Expander<'_>, with: Option<&Node>) -> Settings {
    let mut walk = Walk { expander, late: Vec::new(), typed: Vec::new(), pointer: String::new(), good: true };
    let json = match with {
        Some(node) => walk.value(node, "with"),
        None => serde_json::Value::Object(serde_json::Map::new()),
    };
    Settings { json, late: walk.late, typed: walk.typed, good: walk.good }
}

/// One segment of a JSON pointer (RFC 6901).
pub(crate) fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

struct Walk<'a, 'b> {
    expander: &'a mut Expander<'b>,
    late: Vec<String>,
    typed: Vec<(String, serde_json::Value)>,
    pointer: String,
    good: bool,
}

impl Walk<'_, '_> {
    fn under<T>(&mut self, segment: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escape(segment));
        let result = work(self);
        self.pointer.truncate(length);
        result
    }

    /// `key`: the nearest table key above.
    fn value(&mut self, node: &Node, key: &str) -> serde_json::Value {
        match &node.value {
            Value::String(text) => {
                let filled = self.fill(text, node);
                if filled.secret && (key == "script" || PROGRAMS.contains(&key) || key == "program") {
                    self.refuse("secret-use", node, NO_ARGUMENT.0, NO_ARGUMENT.1);
                }
                if (PROGRAMS.contains(&key) || key == "program") && filled.outside {
                    self.refuse("outside-program", node, NO_PROGRAM.0, NO_PROGRAM.1);
                } else if key == "script" && filled.outside {
                    self.refuse(
                        "outside-script",
                        node,
                        "a value from outside can't be part of a script: a shell would run what it holds",
                        "pass it as a variable: `env = { VALUE = \"${…}\" }`, and write \"$VALUE\" in the script",
                    );
                }
                self.string(filled)
            }
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => serde_json::Number::from_f64(*number).map_or_else(
                || {
                    self.refuse("bad-value", node, "a setting can't be infinite or not a number", "write a finite number");
                    self.late.push(self.pointer.clone());
                    serde_json::Value::from(0.5)
                },
                serde_json::Value::Number,
            ),
            Value::Boolean(flag) => (*flag).into(),
            Value::Datetime(text) => text.clone().into(),
            Value::Array(items) if items.iter().all(|item| matches!(item.value, Value::String(_))) => self.strings(items, key),
            Value::Array(items) => serde_json::Value::Array(
                items.iter().enumerate().map(|(index, item)| self.under(&index.to_string(), |walk| walk.value(item, key))).collect(),
            ),
            Value::Table(table) => {
                let mut object = serde_json::Map::with_capacity(table.entries.len());
                for (key, item) in &table.entries {
                    self.good &= self.expander.check_key(key);
                    let value = self.under(&key.name, |walk| walk.value(item, &key.name));
                    object.insert(key.name.clone(), value);
                }
                serde_json::Value::Object(object)
            }
        }
    }

    /// A string with a mistake stays as it is written.
    fn fill(&mut self, text: &str, node: &Node) -> Filled {
        match self.expander.fill(text, &node.span, Place::Data) {
            Some(filled) => filled,
            None => {
                self.good = false;
                Filled { text: text.to_owned(), late: true, ..Filled::default() }
            }
        }
    }

    fn string(&mut self, filled: Filled) -> serde_json::Value {
        if filled.late {
            self.late.push(self.pointer.clone());
        } else if let Some(value) = filled.whole.as_ref().and_then(Scalar::json) {
            self.typed.push((self.pointer.clone(), value));
        }
        filled.text.into()
    }

    /// An array of strings may be a program and its arguments.
    fn strings(&mut self, items: &[Node], key: &str) -> serde_json::Value {
        let line = PROGRAMS.contains(&key);
        let mut values = Vec::with_capacity(items.len());
        // What ends the options, and what makes the next argument a program's text; both only if the file says so itself.
        let mut options_ended = false;
        let mut interpreter = false;
        let mut code_follows = false;
        for (index, item) in items.iter().enumerate() {
            let Value::String(text) = &item.value else { continue };
            let filled = self.fill(text, item);
            if line && filled.secret {
                self.refuse("secret-use", item, NO_ARGUMENT.0, NO_ARGUMENT.1);
            }
            if line && index == 0 && filled.outside {
                self.refuse("outside-program", item, NO_PROGRAM.0, NO_PROGRAM.1);
            } else if line && code_follows && filled.outside {
                self.refuse(
                    "outside-script",
                    item,
                    "a value from outside can't be part of a script: the interpreter would run what it holds",
                    "pass it as an argument of its own: [\"sh\", \"-c\", \"echo \\\"$1\\\"\", \"sh\", \"${…}\"]",
                );
            } else if filled.outside_first && !filled.late && filled.text.starts_with('-') && !options_ended {
                let message =
                    format!("the argument would be \"{}\", which a program takes for an option", crate::model::shown(&filled.text));
                self.refuse("outside-option", item, &message, "put \"--\" before it, if the program knows that");
            }
            code_follows = false;
            if !filled.outside {
                options_ended |= filled.text == "--";
                code_follows = interpreter && takes_code(&filled.text);
                interpreter |= runs_code(&filled.text);
            }
            values.push(self.under(&index.to_string(), |walk| walk.string(filled)));
        }
        serde_json::Value::Array(values)
    }

    fn refuse(&mut self, code: &'static str, node: &Node, message: &str, hint: &str) {
        self.good = false;
        self.expander.diagnostics.push(Diagnostic::error(code, node.span.clone(), message).hint(hint));
    }
}

/// Programs that run a text given to them as an argument.
fn runs_code(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    matches!(
        name,
        "sh" | "bash"
            | "dash"
            | "ash"
            | "zsh"
            | "ksh"
            | "mksh"
            | "fish"
            | "busybox"
            | "python"
            | "node"
            | "perl"
            | "ruby"
            | "php"
            | "pwsh"
            | "lua"
            | "deno"
            | "bun"
    )
}

/// `-c`, `-ec`, `-e`, `--eval`, `-r`: the next argument is code.
fn takes_code(option: &str) -> bool {
    match option.strip_prefix('-') {
        Some(word) if !word.starts_with('-') => word.contains(['c', 'e', 'r', 'p']),
        Some(word) => matches!(word, "-eval" | "-print" | "-command"),
        None => matches!(option, "eval"),
    }
}

#[cfg(test)]
mod tests {
    use super::{runs_code, takes_code};

    #[test]
    fn interpreters_and_their_options() {
        for program in ["sh", "/bin/bash", "python3.12", "node", "perl5"] {
            assert!(runs_code(program), "{program}");
        }
        for program in ["cargo", "show", "npm", "shfmt"] {
            assert!(!runs_code(program), "{program}");
        }
        for option in ["-c", "-ec", "-lc", "-e", "--eval"] {
            assert!(takes_code(option), "{option}");
        }
        for option in ["-x", "--color", "c", "-"] {
            assert!(!takes_code(option), "{option}");
        }
    }
}
