//! Reports that are one file: written when the run has finished and moved into place in one step, so that nobody reads half of it. A
//! run that broke off has results too: what is known then is written.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use event::{Event, EventSink, Kind};

use crate::complain;

/// What becomes the file.
pub trait Document: Send {
    /// `the JUnit report`.
    const NAME: &'static str;

    fn apply(&mut self, event: &Event);

    /// Whether there is anything to write of a run that did not finish.
    fn begun(&self) -> bool;

    /// # Errors
    /// What writing says.
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()>;
}

pub struct File<D: Document> {
    path: PathBuf,
    /// None once it is written.
    document: Mutex<Option<D>>,
}

impl<D: Document> File<D> {
    pub fn of(path: PathBuf, document: D) -> Self {
        File { path, document: Mutex::new(Some(document)) }
    }

    fn finish(&self, document: &D) {
        if let Err(error) = replace(&self.path, |out| document.write(out)) {
            complain(&format!("{} {} cannot be written", D::NAME, self.path.display()), &error);
        }
    }
}

impl<D: Document> EventSink for File<D> {
    fn emit(&self, event: &Event) {
        let mut document = self.document.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = document.as_mut() {
            known.apply(event);
        }
        if matches!(event.kind, Kind::RunFinished { .. })
            && let Some(whole) = document.take()
        {
            self.finish(&whole);
        }
    }
}

impl<D: Document> Drop for File<D> {
    fn drop(&mut self) {
        let document = self.document.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(document) = document.filter(Document::begun) {
            self.finish(&document);
        }
    }
}

/// Writes beside `path` and renames. Folders above it are made.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // As any new file: a temporary one is its owner's alone, and CI servers read reports as somebody else.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.prefix(".report").tempfile_in(folder)?;
    let mut out = std::io::BufWriter::new(file);
    write(&mut out)?;
    let file = out.into_inner().map_err(|error| error.into_error())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
