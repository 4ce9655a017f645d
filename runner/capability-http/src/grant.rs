//! The schema of `grants.http`: a list of rules, each a URL pattern with methods.
//!
//! A grant is decoded once, with every mistake at its place; what comes out needs no further checks. Deliberately absent: the decision
//! about a request (`policy`).

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use capability::denial::toml_string;
use egress::{Reach, reach};
use pipeline::diagnostic::{Diagnostic, did_you_mean};
use pipeline::grant::{Authority, Grant, GrantContext, GrantSchema, Used};
use pipeline::learning::{Learning, Lesson, decode};
use pipeline::node::{Node, Spanned, TableReader, Value, wrong_type};
use pipeline::plan::SecretUse;
use pipeline::secret::Destination;

use crate::learned;
use crate::pattern::UrlPattern;
use crate::secrets;
use crate::target::Target;

/// The methods that a rule without `methods` allows.
pub const DEFAULT_METHODS: [&str; 2] = ["GET", "HEAD"];
/// RFC 9110 and RFC 5789; for hints.
const KNOWN_METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
/// CONNECT makes a tunnel to anywhere; TRACE shows the guest what the host adds.
pub const REFUSED_METHODS: [&str; 2] = ["CONNECT", "TRACE"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    pub rules: Vec<Rule>,
    /// For URLs that are secret.
    pub hidden: Vec<SecretRule>,
}

/// Allows requests to the URL that a secret holds, within the secret's `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRule {
    /// The secret.
    pub name: String,
    pub to: Vec<UrlPattern>,
    pub methods: Vec<String>,
    pub private: bool,
}

/// As it stands in a pipeline file.
impl fmt::Display for SecretRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ url = \"${{secret.{}}}\", methods = ", self.name)?;
        write_strings(f, &self.methods)?;
        f.write_str(if self.private { ", private = true }" } else { " }" })
    }
}

impl SecretRule {
    fn authority(&self) -> Authority {
        let to = self.to.iter().map(UrlPattern::to_string).collect::<Vec<_>>().join(", ");
        let mut text = format!("{} ${{secret.{}}} (to {to})", self.methods.join(", "), self.name);
        if self.private {
            text.push_str(" (private addresses too)");
        }
        Authority { text, alarming: self.private }
    }
}

/// Allows the requests that fit all its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub url: UrlPattern,
    pub methods: Vec<String>,
    /// Whether the host's name may lead to an address that is not public.
    pub private: bool,
    /// The parameters that the query may have; `None` for any.
    pub query: Option<Vec<String>>,
}

/// As it stands in a pipeline file.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ url = \"{}\", methods = ", self.url)?;
        write_strings(f, &self.methods)?;
        if let Some(query) = &self.query {
            f.write_str(", query = ")?;
            write_strings(f, query)?;
        }
        if self.private {
            f.write_str(", private = true")?;
        }
        f.write_str(" }")
    }
}

/// An array of strings; `${` begins a reference in the pipeline file.
fn write_strings(f: &mut fmt::Formatter<'_>, texts: &[String]) -> fmt::Result {
    for (i, text) in texts.iter().enumerate() {
        f.write_str(if i == 0 { "[" } else { ", " })?;
        // nearly all are plain, and a denial should cost little
        if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            write!(f, "\"{text}\"")?;
        } else {
            f.write_str(&toml_string(&text.replace("${", "$${")))?;
        }
    }
    f.write_str(if texts.is_empty() { "[]" } else { "]" })
}

impl Rule {
    fn authority(&self) -> Authority {
        let mut text = format!("{} {}", self.methods.join(", "), self.url);
        match &self.query {
            None => {}
            Some(names) if names.is_empty() => text.push_str(" (no query)"),
            Some(names) => text.push_str(&format!(" (query: {})", names.join(", "))),
        }
        let named = self.url.address().map(reach).filter(|reach| *reach != Reach::Public);
        match named {
            Some(reach) => text.push_str(&format!(" ({})", reach.describe())),
            None if self.url.names_localhost() => text.push_str(" (this machine)"),
            None if self.private => text.push_str(" (private addresses too)"),
            None => {}
        }
        let alarming = self.private || named.is_some() || self.url.names_localhost() || self.url.is_sweeping();
        Authority { text, alarming }
    }
}

impl Grant for HttpGrant {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn authority(&self) -> Vec<Authority> {
        self.rules.iter().map(Rule::authority).chain(self.hidden.iter().map(SecretRule::authority)).collect()
    }

    /// Rules that no request fits, and methods that no request of a rule had.
    fn unused(&self, used: &mut dyn Iterator<Item = Used<'_>>) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Request {
            method: String,
            url: String,
        }
        let mut methods: Vec<Vec<String>> = vec![Vec::new(); self.rules.len()];
        let mut hidden = vec![false; self.hidden.len()];
        for used in used.filter(|used| used.effect == "http.request") {
            // what can't be read may have been anything
            let Ok(Request { method, url }) = serde_json::from_str(used.request) else { return Vec::new() };
            if let Some(name) = secret::placeholder_name(&url) {
                self.hidden.iter().zip(&mut hidden).filter(|(rule, _)| rule.name == name).for_each(|(_, used)| *used = true);
                continue;
            }
            let Ok(target) = Target::parse(&url) else { return Vec::new() };
            // where several fit, none of them is told to go
            for (rule, methods) in self.rules.iter().zip(&mut methods) {
                if rule.allows(&method, &target) && !methods.contains(&method) {
                    methods.push(method.clone());
                }
            }
        }
        let mut unused: Vec<String> =
            self.hidden.iter().zip(hidden).filter(|(_, used)| !used).map(|(rule, _)| format!("{rule}: no request")).collect();
        for (rule, used) in self.rules.iter().zip(methods) {
            if used.is_empty() {
                unused.push(format!("{rule}: no request"));
            } else if used.len() < rule.methods.len() {
                let narrower =
                    Rule { methods: rule.methods.iter().filter(|method| used.contains(method)).cloned().collect(), ..rule.clone() };
                // GET without HEAD is seldom meant, and both read
                if narrower.methods != ["GET"] || rule.methods != DEFAULT_METHODS {
                    unused.push(format!("{rule}: {narrower} is enough"));
                }
            }
        }
        unused
    }
}

/// Decodes `grants.http`.
#[derive(Debug, Clone, Copy)]
pub struct HttpSchema;

impl HttpSchema {
    /// The rules that stand in the file; none where they hold references.
    fn rules(&self, granted: Option<&Node>, context: &GrantContext) -> Option<Vec<Rule>> {
        let Some(granted) = granted else { return Some(Vec::new()) };
        decode(self, granted, context)?.as_any().downcast_ref::<HttpGrant>().map(|grant| grant.rules.clone())
    }
}

impl GrantSchema for HttpSchema {
    fn name(&self) -> &'static str {
        "http"
    }

    fn summary(&self) -> &'static str {
        "HTTP requests to granted places"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["runner:http/"]
    }

    fn standard(&self) -> &'static [&'static str] {
        &["wasi:http/"]
    }

    fn json_schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["url"], "additionalProperties": false,
            "properties": {
                "url": { "type": "string", "description": "`*` is one segment of the path, `**` any number of them." },
                "methods": { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                "query": { "type": "array", "items": { "type": "string" } },
                "private": { "type": "boolean", "description": "It may lead to this machine or a private network." },
            },
        } })
    }

    fn example(&self) -> &'static str {
        r#"http = [{ url = "https://api.example/v1/**", methods = ["GET"] }]"#
    }

    fn path_keys(&self) -> &'static [&'static str] {
        &["url"]
    }

    fn learning(&self, stage: &Learning<'_>) -> Result<Option<String>, String> {
        let before = self.rules(stage.granted, stage.context).ok_or("its `http` grant holds references")?;
        Ok(Some(learned::learning(&before, stage.hosts)))
    }

    fn learned(&self, lesson: &Lesson<'_>) -> Option<String> {
        learned::learned(&self.rules(lesson.granted, lesson.context).unwrap_or_default(), lesson.used)
    }

    fn confirmable(&self, denied: &Used<'_>) -> Option<String> {
        learned::confirmable(denied)
    }

    fn decode(&self, node: &Node, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<dyn Grant>> {
        let what = format!("[stage.{}.grants] http", context.stage);
        let before = diagnostics.len();
        let decoded: Vec<Decoded> = match &node.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .filter_map(|(i, item)| decode_rule(item, format!("rule {} of {what}", i + 1), context, diagnostics))
                .collect(),
            // one rule alone may stand without its array
            Value::Table(_) => decode_rule(node, what, context, diagnostics).into_iter().collect(),
            Value::String(url) => {
                diagnostics.push(
                    wrong_type(&node.span, &what, "an array of rules", &node.value)
                        .hint(format!("write `http = [{{ url = {} }}]`", toml_string(url))),
                );
                Vec::new()
            }
            other => {
                diagnostics.push(wrong_type(&node.span, &what, "an array of rules", other).hint(format!("write `{}`", self.example())));
                Vec::new()
            }
        };
        for one in &context.secrets {
            one.secret.to.iter().for_each(|to| check_place(node, one, to, diagnostics));
        }
        let mut grant = HttpGrant { rules: Vec::with_capacity(decoded.len()), hidden: Vec::new() };
        for rule in decoded {
            match rule {
                Decoded::Rule(rule) => grant.rules.push(rule),
                Decoded::Hidden(rule) => grant.hidden.push(rule),
            }
        }
        (diagnostics.len() == before).then(|| Arc::new(grant) as Arc<dyn Grant>)
    }
}

enum Decoded {
    Rule(Rule),
    Hidden(SecretRule),
}

/// `to` is the patterns' business as much as `url` is: what `pipeline` can't see is reported here.
fn check_place(node: &Node, one: &SecretUse, to: &str, diagnostics: &mut Vec<Diagnostic>) {
    if let Ok(Destination::Url(url)) = Destination::parse(to)
        && let Err(error) = UrlPattern::parse(&url)
    {
        let message = format!("the secret `{}` can't be put to `{url}`: {}", one.secret.name, error.message);
        diagnostics.push(Diagnostic::error("bad-secret", node.span.clone(), message).hint(error.hint));
    }
}

fn decode_rule(node: &Node, what: String, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<Decoded> {
    if let Value::String(url) = &node.value {
        diagnostics.push(wrong_type(&node.span, &what, "a table", &node.value).hint(format!("write `{{ url = {} }}`", toml_string(url))));
        return None;
    }
    let mut reader = TableReader::new(node, what, diagnostics)?;
    let url = reader.require("url").and_then(|node| reader.expect_string(node, "url"));
    let methods = reader.strings("methods");
    let private = reader.boolean("private").is_some_and(|flag| flag.value);
    let query = reader.strings("query");
    let hidden = url.as_ref().and_then(|url| context.secrets.iter().find(|one| one.placeholder == url.value));
    let url = match hidden {
        Some(_) => None,
        None => url.and_then(|url| decode_url(&url, context, reader.diagnostics)),
    };
    let methods = match methods {
        None => Some(DEFAULT_METHODS.map(str::to_owned).to_vec()),
        Some(methods) => {
            if methods.is_empty()
                && let Some(place) = reader.take("methods")
            {
                reader.diagnostics.push(
                    Diagnostic::error("empty", place.span.clone(), "`methods` is empty, so the rule allows nothing")
                        .hint("name a method, or leave `methods` out for GET and HEAD"),
                );
            }
            decode_methods(&methods, reader.diagnostics)
        }
    };
    if let (Some(one), Some(query)) = (hidden, reader.take("query").filter(|_| query.is_some())) {
        let message = format!("the query is a part of the secret `{}`", one.secret.name);
        reader.diagnostics.push(Diagnostic::error("bad-query", query.span.clone(), message).hint("remove `query`"));
    }
    let query = query.map(|names| decode_query(names, reader.diagnostics));
    reader.finish();
    if let Some(one) = hidden {
        let to: Vec<UrlPattern> = one.secret.to.iter().filter_map(|to| secrets::pattern(to)).collect();
        if to.is_empty() {
            let message = format!("the secret `{}` may go to no URL", one.secret.name);
            let hint = format!("say where its URL may lead:\n\n[secret.{}]\nto = [\"https://hooks.example/services/**\"]", one.secret.name);
            diagnostics.push(Diagnostic::error("bad-secret", node.span.clone(), message).hint(hint));
            return None;
        }
        return Some(Decoded::Hidden(SecretRule { name: one.secret.name.clone(), to, methods: methods?, private }));
    }
    Some(Decoded::Rule(Rule { url: url?, methods: methods?, private, query }))
}

fn decode_url(url: &Spanned<String>, context: &GrantContext, diagnostics: &mut Vec<Diagnostic>) -> Option<UrlPattern> {
    if let Some(one) = context.secrets.iter().find(|one| url.value.contains(&one.placeholder)) {
        let message = format!("a part of the URL is the secret `{}`", one.secret.name);
        diagnostics.push(
            Diagnostic::error("bad-url", url.span.clone(), message)
                .hint("write `*` for that segment; the stage puts the secret there, and the secret's `to` allows it"),
        );
        return None;
    }
    match UrlPattern::parse(&url.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            diagnostics.push(Diagnostic::error("bad-url", url.span.clone(), error.message).hint(error.hint));
            None
        }
    }
}

fn decode_methods(methods: &[Spanned<String>], diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<String>> {
    let before = diagnostics.len();
    let mut decoded: Vec<String> = Vec::with_capacity(methods.len());
    for method in methods {
        let name = method.value.as_str();
        let mistake = |message: String, hint: String| Diagnostic::error("bad-method", method.span.clone(), message).hint(hint);
        let upper = name.to_ascii_uppercase();
        if REFUSED_METHODS.contains(&upper.as_str()) {
            diagnostics
                .push(mistake(format!("`{name}` can't be granted"), "a stage has no use for tunnels and traces; leave it out".into()));
        } else if name == "*" {
            diagnostics.push(mistake("a rule names its methods".into(), format!("one or more of {}", KNOWN_METHODS.join(", "))));
        } else if !is_token(name) {
            diagnostics.push(mistake(format!("`{}` is no method", name.escape_debug()), format!("such as {}", KNOWN_METHODS.join(", "))));
        } else if KNOWN_METHODS.contains(&upper.as_str()) && name != upper {
            diagnostics.push(mistake(format!("`{name}` is not `{upper}`: the case of a method matters"), format!("write \"{upper}\"")));
        } else if let Some(near) = did_you_mean(name, KNOWN_METHODS).filter(|near| *near != name && near.len().abs_diff(name.len()) <= 1)
            && name.len() > 3
        {
            diagnostics.push(mistake(format!("`{name}` is no method that anybody uses"), format!("did you mean \"{near}\"?")));
        } else if !decoded.iter().any(|known| known == name) {
            decoded.push(name.to_owned());
        }
    }
    (diagnostics.len() == before).then_some(decoded)
}

fn decode_query(names: Vec<Spanned<String>>, diagnostics: &mut Vec<Diagnostic>) -> Vec<String> {
    let mut decoded = Vec::with_capacity(names.len());
    for name in names {
        if name.value.contains(['=', '&', '?', '#']) {
            diagnostics.push(
                Diagnostic::error("bad-query", name.span, "`query` lists the names of parameters")
                    .hint("write the name alone, decoded: \"page\" for `?page=2`"),
            );
        } else {
            decoded.push(name.value);
        }
    }
    decoded
}

/// RFC 9110, 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
