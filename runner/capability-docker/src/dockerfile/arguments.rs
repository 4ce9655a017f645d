//! `ARG` before the first `FROM`, and the variables of `FROM`.

use std::collections::BTreeMap;

/// The values that `FROM` can name.
#[derive(Debug, Default)]
pub struct Arguments {
    given: BTreeMap<String, String>,
    /// None: declared, and its value can't be told.
    known: BTreeMap<String, Option<String>>,
}

impl Arguments {
    /// `given`: by whoever builds.
    pub fn new(given: &[(String, String)]) -> Arguments {
        Arguments { given: given.iter().cloned().collect(), known: BTreeMap::new() }
    }

    /// `ARG a b=c "d=e"`.
    pub fn declare(&mut self, rest: &str) {
        // in quotes a space is no end, so that nothing on such a line is sure
        let sure = !rest.contains(['\\', '`']) && quoted_plainly(rest);
        for word in rest.split_whitespace() {
            let (name, default) = word.split_once('=').map_or((word, None), |(name, default)| (name, Some(default)));
            let name = name.trim_matches(['"', '\'']).to_owned();
            let value = match (self.given.get(&name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, None) => Some(String::new()),
                (None, Some(default)) => unquoted(default).and_then(|default| self.expand(default).ok()),
            };
            self.known.insert(name, value.filter(|_| sure));
        }
    }

    /// Puts values in the places of their variables.
    ///
    /// # Errors
    /// If one of them can't be told.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        if text.contains(['"', '\'', '\\', '`']) {
            return Err(format!("what `{text}` means can't be told: write it without quotes and backslashes"));
        }
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(braced) = rest.strip_prefix('{') {
                let end = braced.find('}').ok_or_else(|| format!("`{text}` has a brace without an end"))?;
                out.push_str(&self.braced(&braced[..end])?);
                rest = &braced[end + 1..];
            } else {
                let end = rest.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_')).unwrap_or(rest.len());
                out.push_str(&self.value(&rest[..end])?);
                rest = &rest[end..];
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn braced(&self, inner: &str) -> Result<String, String> {
        let Some((name, modifier)) = inner.split_once(':') else { return self.value(inner) };
        let value = match self.known.get(name) {
            Some(None) => return self.value(name),
            Some(Some(value)) => value.clone(),
            None => String::new(),
        };
        match (modifier.split_at_checked(1), value.is_empty()) {
            (Some(("-", default)), true) if !default.contains('$') => Ok(default.to_owned()),
            (Some(("-", _)), false) => Ok(value),
            (Some(("+", other)), false) if !other.contains('$') => Ok(other.to_owned()),
            (Some(("+", _)), true) => Ok(String::new()),
            _ => Err(format!("`${{{inner}}}` can't be told before the build")),
        }
    }

    fn value(&self, name: &str) -> Result<String, String> {
        match self.known.get(name) {
            Some(Some(value)) => Ok(value.clone()),
            Some(None) => Err(format!("the value of `{name}` can't be told before the build")),
            None => Err(format!("`{name}` is declared by no `ARG` before the first `FROM`")),
        }
    }
}

/// Quotes, if any, stand around a whole value.
fn quoted_plainly(rest: &str) -> bool {
    rest.split_whitespace().all(|word| {
        let value = word.split_once('=').map_or(word, |(_, value)| value);
        unquoted(value).is_some() || value.is_empty()
    })
}

/// A value without the quotes around it. None: it has others.
fn unquoted(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
    let single = value.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\''));
    match single {
        // in these a `$` stands for itself
        Some(inner) => (!inner.contains(['$', '\'', '"'])).then_some(inner),
        None => (!inner.contains(['"', '\''])).then_some(inner),
    }
}
