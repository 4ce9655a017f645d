//! A layer from files: a tar with gzip around it, whose bytes depend on the files and the settings alone.
//!
//! Entries are sorted, times are one time, owners and modes are said. There are no entries for the folders that lead to a target: a layer that
//! names `/var/run` would turn the link that it is in most bases into a folder. Written to a file as it is read; nothing is in memory as a whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use runner_sdk::{Failure, files};
use tar::{Builder, EntryType, Header};

use crate::blob::{Blob, Descriptor, Hashing, Place, media};
use crate::settings::FromFiles;

/// A part of the digest: another level makes other bytes.
const LEVEL: u32 = 6;
/// In a gzip header: not known (RFC 1952, 2.3.1).
const NO_SYSTEM: u8 = 255;

/// A finished layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub blob: Blob,
    /// The digest of the tar inside.
    pub diff_id: String,
    /// For the image's history.
    pub made_by: String,
}

type Sink = Hashing<BufWriter<File>>;
type Archive = Builder<Hashing<GzEncoder<Sink>>>;

/// What the entries have in common.
struct Look {
    file_mode: u32,
    folder_mode: u32,
    owner: (u64, u64),
    time: u64,
}

/// Packs what an entry of `from-files` names into `into`.
///
/// # Errors
/// If a setting can't be meant, or a file can't be read.
pub fn pack(entry: &FromFiles, time: u64, into: PathBuf) -> Result<Layer, Failure> {
    let look = look(entry, time).map_err(Failure::Misconfigured)?;
    let target = target(entry).map_err(Failure::Misconfigured)?;
    let source = files::resolve(&entry.path);
    let unwritable = |error: io::Error| Failure::errored(format_args!("the layer of {} can't be written: {error}", entry.path));

    let file = BufWriter::new(File::create(&into).map_err(unwritable)?);
    let gzip = GzBuilder::new().mtime(0).operating_system(NO_SYSTEM).write(Hashing::new(file), Compression::new(LEVEL));
    let mut archive = Builder::new(Hashing::new(gzip));
    let found = fs::symlink_metadata(&source).map_err(|error| unread(&source, error))?;
    if found.is_dir() {
        folder(&mut archive, &source, &target, &look)?;
    } else {
        let target = match (entry.to.ends_with('/'), source.file_name()) {
            (true, Some(name)) => target.join(name),
            _ => target,
        };
        if target.as_os_str().is_empty() {
            return Err(Failure::misconfigured(format_args!(
                "from-files: `{}` is a file, and `to = \"{}\"` names none",
                entry.path, entry.to
            )));
        }
        one(&mut archive, &source, &target, &look)?;
    }
    let (gzip, diff_id, _) = archive.into_inner().map_err(unwritable)?.finish();
    let (mut file, digest, size) = gzip.finish().map_err(unwritable)?.finish();
    file.flush().map_err(unwritable)?;
    let blob = Blob { descriptor: Descriptor::new(media::LAYER, digest, size), place: Place::File(into, 0) };
    Ok(Layer { blob, diff_id, made_by: format!("build-image: {} as {}", entry.path, entry.to) })
}

fn unread(path: &Path, source: io::Error) -> Failure {
    if source.kind() == io::ErrorKind::NotFound {
        let shown = path.strip_prefix(files::WORKSPACE).unwrap_or(path).display().to_string();
        let error = files::Error { operation: "read", path: path.to_owned(), source };
        return match error.denial() {
            Some(denial) => Failure::Denied(denial),
            None => Failure::misconfigured(format_args!(
                "from-files: there is no {shown} in the workspace; does the stage `consume` what makes it?"
            )),
        };
    }
    files::Error { operation: "read", path: path.to_owned(), source }.into()
}

fn look(entry: &FromFiles, time: u64) -> Result<Look, String> {
    let file_mode = match &entry.mode {
        None => 0o644,
        Some(text) => u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| format!("from-files: `mode = \"{text}\"` is no mode; write it in octal digits such as \"0755\""))?,
    };
    let folder_mode = if entry.mode.is_none() { 0o755 } else { file_mode | (file_mode & 0o444) >> 2 };
    let owner = match &entry.owner {
        None => (0, 0),
        Some(text) => {
            let (user, group) = text.split_once(':').unwrap_or((text, text));
            let ids = user.parse::<u32>().ok().zip(group.parse::<u32>().ok());
            let (user, group) =
                ids.ok_or_else(|| format!("from-files: `owner = \"{text}\"` is none; write numbers, such as \"65532:65532\""))?;
            (user.into(), group.into())
        }
    };
    Ok(Look { file_mode, folder_mode, owner, time })
}

/// The path in the archive, which has no `/` in front.
fn target(entry: &FromFiles) -> Result<PathBuf, String> {
    let inner = entry.to.strip_prefix('/').ok_or_else(|| format!("from-files: `to = \"{}\"` is no absolute path", entry.to))?;
    let parts: Vec<&str> = inner.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.iter().any(|part| *part == ".." || part.starts_with(".wh.")) {
        return Err(format!("from-files: `to = \"{}\"` can't be in an image: no `..`, and no name that begins with `.wh.`", entry.to));
    }
    Ok(parts.iter().collect())
}

fn folder(archive: &mut Archive, source: &Path, target: &Path, look: &Look) -> Result<(), Failure> {
    if !target.as_os_str().is_empty() {
        let mut header = header(EntryType::Directory, look.folder_mode, look);
        // with a `/` at the end, as other tools write it
        archive.append_data(&mut header, target.join(""), io::empty()).map_err(|error| unread(source, error))?;
    }
    for path in files::list(source)? {
        let Some(name) = path.file_name() else { continue };
        let target = target.join(name);
        match fs::symlink_metadata(&path).map_err(|error| unread(&path, error))? {
            found if found.is_dir() => folder(archive, &path, &target, look)?,
            _ => one(archive, &path, &target, look)?,
        }
    }
    Ok(())
}

fn one(archive: &mut Archive, source: &Path, target: &Path, look: &Look) -> Result<(), Failure> {
    let failed = |error| unread(source, error);
    let found = fs::symlink_metadata(source).map_err(failed)?;
    if found.file_type().is_symlink() {
        let mut header = header(EntryType::Symlink, 0o777, look);
        return archive.append_link(&mut header, target, fs::read_link(source).map_err(failed)?).map_err(failed);
    }
    if !found.is_file() {
        return Err(Failure::misconfigured(format_args!("from-files: {} is neither a file, a folder nor a link", source.display())));
    }
    let file = File::open(source).map_err(failed)?;
    let mut header = header(EntryType::Regular, look.file_mode, look);
    header.set_size(found.len());
    archive.append_data(&mut header, target, file).map_err(failed)
}

fn header(kind: EntryType, mode: u32, look: &Look) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(look.owner.0);
    header.set_gid(look.owner.1);
    header.set_mtime(look.time);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn entry(path: &Path, to: &str) -> FromFiles {
        FromFiles { path: path.display().to_string(), to: to.into(), mode: None, owner: None, platform: None }
    }

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("app");
        fs::create_dir_all(app.join("b/c")).unwrap();
        fs::write(app.join("b/c/z"), "zett").unwrap();
        fs::write(app.join("a"), "first").unwrap();
        std::os::unix::fs::symlink("a", app.join("link")).unwrap();
        folder
    }

    /// Path, kind, mode, owner, time and content of each entry.
    fn entries(layer: &Layer) -> Vec<(String, EntryType, u32, u64, u64, String)> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer.blob.open(0).unwrap().unwrap()));
        let read = |entry: io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let (header, path) = (entry.header().clone(), entry.path().unwrap().display().to_string());
            let mut text = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
            Read::read_to_string(&mut entry, &mut text).unwrap();
            (path, header.entry_type(), header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap(), text)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn a_folder_becomes_a_sorted_archive() {
        let folder = tree();
        let scratch = folder.path().join("layer");
        let mut entry = entry(&folder.path().join("app"), "/srv/app");
        entry.owner = Some("65532:10".into());
        let layer = pack(&entry, 7, scratch).unwrap();
        let told = entries(&layer);
        let names: Vec<&str> = told.iter().map(|entry| entry.0.as_str()).collect();
        assert_eq!(names, ["srv/app/", "srv/app/a", "srv/app/b/", "srv/app/b/c/", "srv/app/b/c/z", "srv/app/link"]);
        assert_eq!(told[0], ("srv/app/".into(), EntryType::Directory, 0o755, 65532, 7, String::new()));
        assert_eq!(told[1], ("srv/app/a".into(), EntryType::Regular, 0o644, 65532, 7, "first".into()));
        assert_eq!((told[5].1, told[5].5.as_str()), (EntryType::Symlink, "a"));
    }

    #[test]
    fn the_same_files_are_the_same_bytes() {
        let (one, two) = (tree(), tree());
        // what a copy changes is not told
        fs::set_permissions(two.path().join("app/a"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        File::open(two.path().join("app/a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let pack = |folder: &tempfile::TempDir| pack(&entry(&folder.path().join("app"), "/"), 0, folder.path().join("layer")).unwrap();
        let (one, two) = (pack(&one), pack(&two));
        assert_eq!((&one.blob.descriptor, &one.diff_id), (&two.blob.descriptor, &two.diff_id));
        // byte for byte what it was yesterday
        assert_eq!(one.diff_id, "sha256:703b7f822cfa146cfd9443ba6c82606463032dc141aa2f148fd1321114f3b38d");
        assert_eq!(one.blob.descriptor.digest, "sha256:54bd05663c0469d87f01d2f0829aa30528bdb71aecb5bd5d83f7b50d4c64c94f");
    }

    #[test]
    fn a_file_goes_where_it_is_told_to() {
        let folder = tree();
        let source = folder.path().join("app/a");
        for (to, mode, name, expected) in [("/bin/tool", Some("0755"), "bin/tool", 0o755), ("/bin/", None, "bin/a", 0o644)] {
            let mut entry = entry(&source, to);
            entry.mode = mode.map(str::to_owned);
            let layer = pack(&entry, 0, folder.path().join("layer")).unwrap();
            let told = entries(&layer);
            assert_eq!((told.len(), told[0].0.as_str(), told[0].2), (1, name, expected));
        }
    }

    #[test]
    fn long_names_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "x").unwrap();
        let layer = pack(&entry(folder.path(), "/"), 0, std::env::temp_dir().join(format!("layer-{}", std::process::id()))).unwrap();
        assert_eq!(entries(&layer).last().unwrap().0, format!("{}/{}/f", "d".repeat(120), "e".repeat(120)));
        let Place::File(path, _) = layer.blob.place else { panic!("it is a file") };
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_cannot_be_packed_says_why() {
        let folder = tree();
        let app = folder.path().join("app");
        let cases: [(FromFiles, &str); 7] = [
            (entry(&folder.path().join("nothing"), "/a"), "there is no"),
            (entry(&app, "a"), "is no absolute path"),
            (entry(&app, "/a/../b"), "can't be in an image"),
            (entry(&app, "/.wh.a"), "can't be in an image"),
            (entry(&app.join("a"), "/"), ""),
            (FromFiles { mode: Some("rwx".into()), ..entry(&app, "/a") }, "is no mode"),
            (FromFiles { owner: Some("root".into()), ..entry(&app, "/a") }, "write numbers"),
        ];
        for (entry, part) in cases {
            match pack(&entry, 0, folder.path().join("layer")) {
                Err(Failure::Misconfigured(why)) => assert!(!part.is_empty() && why.contains(part), "{why}"),
                Err(other) => panic!("{other}"),
                // a file into the root
                Ok(layer) => assert_eq!((part, entries(&layer)[0].0.as_str()), ("", "a")),
            }
        }
    }
}
