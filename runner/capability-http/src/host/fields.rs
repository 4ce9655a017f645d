//! `wasi:http/types.fields`: header names and values in their order and casing, mutable until they belong to something.

use std::sync::Arc;

use capability::StageState;
use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};

use super::bindings::wasi::http::types::{self, HeaderError};
use crate::effect::Header;
use crate::grant::is_token;

/// More than this ends the attempt: no request could ever be sent with it.
const MAX_FIELDS: usize = 1 << 20;

/// The representation of `fields`.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    entries: Arc<Vec<(String, Vec<u8>)>>,
    immutable: bool,
}

impl Fields {
    /// Those of something that has been sent or received.
    pub fn immutable(entries: Arc<Vec<(String, Vec<u8>)>>) -> Fields {
        Fields { entries, immutable: true }
    }

    pub fn of(headers: &[Header]) -> Fields {
        Fields::immutable(Arc::new(headers.iter().map(|h| (h.name.clone(), h.value.to_vec())).collect()))
    }

    pub fn into_entries(self) -> Arc<Vec<(String, Vec<u8>)>> {
        self.entries
    }

    /// What they take, with HPACK's allowance for each (RFC 7541, 4.1).
    fn size(&self) -> usize {
        self.entries.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &Vec<u8>> {
        self.entries.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Headers of the connection belong to the host. `content-length` may be set here, because `outgoing-body.finish` checks the body against
/// it; the host still writes its own.
fn check_name(name: &str) -> std::result::Result<(), HeaderError> {
    if !is_token(name) {
        return Err(HeaderError::InvalidSyntax);
    }
    let lower = name.to_ascii_lowercase();
    if lower != "content-length" && crate::policy::is_host_header(&lower) {
        return Err(HeaderError::Forbidden);
    }
    Ok(())
}

fn check(name: &str, value: &[u8]) -> std::result::Result<(), HeaderError> {
    check_name(name)?;
    http::HeaderValue::from_bytes(value).map(|_| ()).map_err(|_| HeaderError::InvalidSyntax)
}

type Answer<T> = Result<std::result::Result<T, HeaderError>>;

fn change(table: &mut ResourceTable, fields: &Resource<Fields>, change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Answer<()> {
    let fields = table.get_mut(fields)?;
    if fields.immutable {
        return Ok(Err(HeaderError::Immutable));
    }
    change(Arc::make_mut(&mut fields.entries));
    limited(fields)?;
    Ok(Ok(()))
}

fn limited(fields: &Fields) -> Result<()> {
    if fields.size() > MAX_FIELDS {
        return Err(wasmtime::Error::msg(format!("wasi:http: the headers of one message are larger than {MAX_FIELDS} bytes")));
    }
    Ok(())
}

impl types::HostFields for StageState {
    fn new(&mut self) -> Result<Resource<Fields>> {
        Ok(self.table.push(Fields::default())?)
    }

    fn from_list(&mut self, entries: Vec<(String, Vec<u8>)>) -> Answer<Resource<Fields>> {
        for (name, value) in &entries {
            if let Err(error) = check(name, value) {
                return Ok(Err(error));
            }
        }
        let fields = Fields { entries: Arc::new(entries), immutable: false };
        limited(&fields)?;
        Ok(Ok(self.table.push(fields)?))
    }

    fn get(&mut self, fields: Resource<Fields>, name: String) -> Result<Vec<Vec<u8>>> {
        Ok(self.table.get(&fields)?.values(&name).cloned().collect())
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> Result<bool> {
        Ok(self.table.get(&fields)?.values(&name).next().is_some())
    }

    fn set(&mut self, fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>) -> Answer<()> {
        for error in values.iter().map(|value| check(&name, value)).chain([check_name(&name)]) {
            if let Err(error) = error {
                return Ok(Err(error));
            }
        }
        change(&mut self.table, &fields, |entries| {
            entries.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            entries.extend(values.into_iter().map(|value| (name.clone(), value)));
        })
    }

    fn delete(&mut self, fields: Resource<Fields>, name: String) -> Answer<()> {
        if !is_token(&name) {
            return Ok(Err(HeaderError::InvalidSyntax));
        }
        change(&mut self.table, &fields, |entries| entries.retain(|(known, _)| !known.eq_ignore_ascii_case(&name)))
    }

    fn append(&mut self, fields: Resource<Fields>, name: String, value: Vec<u8>) -> Answer<()> {
        if let Err(error) = check(&name, &value) {
            return Ok(Err(error));
        }
        change(&mut self.table, &fields, |entries| entries.push((name, value)))
    }

    fn entries(&mut self, fields: Resource<Fields>) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.table.get(&fields)?.entries.to_vec())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> Result<Resource<Fields>> {
        let entries = self.table.get(&fields)?.entries.clone();
        Ok(self.table.push(Fields { entries, immutable: false })?)
    }

    fn drop(&mut self, fields: Resource<Fields>) -> Result<()> {
        self.table.delete(fields)?;
        Ok(())
    }
}
