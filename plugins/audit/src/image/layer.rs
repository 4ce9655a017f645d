//! One layer as a stream: decompressed, counted, and compared with its digest.
//!
//! Nothing of a layer is kept here but a few buffers, and what it unpacks to is bounded while it is read: a small file can claim to be
//! a large tree.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest as _, Sha256};

use super::ImageError;
use super::store::Blob;
use super::tar::{Entries, Entry, Error, Stream};

const BUFFER: usize = 64 << 10;

/// What an image may unpack to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all its layers together.
    pub total: u64,
    /// How many times its compressed size a layer may have, once it is larger than `unsuspicious`. None: any.
    pub growth: Option<u64>,
    pub unsuspicious: u64,
}

impl Limits {
    const DEFAULT_GIB: u64 = 16;

    /// `gib` is the user's own limit; it takes the place of the watch over how much a layer grows.
    pub fn new(gib: Option<u64>) -> Self {
        // Binaries shrink to a third, text to a tenth. Only what holds nothing but repetition shrinks more.
        let growth = if gib.is_some() { None } else { Some(200) };
        Self { total: gib.unwrap_or(Self::DEFAULT_GIB).saturating_mul(1 << 30), growth, unsuspicious: 256 << 20 }
    }
}

/// What a layer's bytes must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Whether it is about the bytes as they are stored, or about the archive in them.
    pub packed: bool,
}

/// Reads a layer to its end and shows each entry; a visitor reads as much of the content as it wants. `unpacked` counts on
/// through all layers.
pub fn walk(
    place: &str,
    blob: Blob<'_>,
    expected: Option<&Expected>,
    limits: &Limits,
    unpacked: &Rc<Cell<u64>>,
    visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let hashes = |packed: bool| expected.is_some_and(|expected| expected.packed == packed);
    let raw = Watched::new(blob.content, hashes(true), Rc::default(), None);
    let (packed, raw_hash) = (raw.count.clone(), raw.hash.clone());
    let watch = Watch { limits: *limits, packed, before: unpacked.get() };
    let decoded = decode(place, BufReader::with_capacity(BUFFER, raw))?;
    let guarded = Watched::new(decoded, hashes(false), unpacked.clone(), Some(watch));
    let inner_hash = guarded.hash.clone();
    let mut entries = Entries::new(Stream(BufReader::with_capacity(BUFFER, guarded)));
    while let Some(entry) = entries.next().map_err(|error| failed(place, error))? {
        visit(&entry, &mut entries)?;
    }
    let mut rest = entries.into_inner().0;
    io::copy(&mut rest, &mut io::sink()).map_err(|error| failed(place, error.into()))?;
    let Some(expected) = expected else { return Ok(()) };
    match raw_hash.or(inner_hash).map(|hash| digest(&hash.borrow())) {
        Some(found) if found != expected.digest => {
            let what = format!("its content is not what its digest says: it should be {} and is {found}", expected.digest);
            Err(ImageError::new(place, what, "It was changed or cut off. Save the image again"))
        }
        _ => Ok(()),
    }
}

/// The digest of bytes at hand.
pub fn digest_of(bytes: &[u8]) -> String {
    digest(&Sha256::new_with_prefix(bytes))
}

fn digest(hash: &Sha256) -> String {
    hash.clone().finalize().iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An error that a reader gave says what went wrong, or only that something did.
pub(super) fn failed(place: &str, error: Error) -> ImageError {
    match error {
        Error::Broken(what) => ImageError::new(place, format!("it is no layer that can be read: {what}"), "Save the image again"),
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLarge>()) {
            Some(TooLarge(what)) => ImageError::new(
                place,
                what.clone(),
                "If the image is meant to be that large, set `image-limit` to as many GiB as it may unpack to",
            ),
            None => ImageError::new(place, format!("it is no layer that can be read: {error}"), "Save the image again"),
        },
    }
}

fn decode<'a, R: BufRead + 'a>(place: &str, mut raw: R) -> Result<Box<dyn Read + 'a>, ImageError> {
    let start = raw.fill_buf().map_err(|error| failed(place, error.into()))?;
    let unknown = |name: &str| {
        let what = format!("it is compressed with {name}, which OCI does not know");
        Err(ImageError::new(place, what, "Build the image with gzip, zstd or no compression"))
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(raw))),
        // A frame, or one that is skipped: some tools put notes into those.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Ok(Box::new(Frames::new(raw).map_err(|error| failed(place, error.into()))?))
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => unknown("xz"),
        [b'B', b'Z', b'h', ..] => unknown("bzip2"),
        _ => Ok(Box::new(raw)),
    }
}

/// All frames of a zstd file, one after the other.
struct Frames<R> {
    raw: R,
    decoder: FrameDecoder,
}

/// A whole frame that holds nothing.
const EMPTY_FRAME: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00];

impl<R: BufRead> Frames<R> {
    fn new(raw: R) -> io::Result<Self> {
        let mut decoder = FrameDecoder::new();
        // The decoder bounds its memory from its second frame on, so the first must not be anybody's.
        decoder.init(&EMPTY_FRAME[..]).map_err(io::Error::other)?;
        decoder.decode_blocks(&EMPTY_FRAME[6..], BlockDecodingStrategy::All).map_err(io::Error::other)?;
        Ok(Self { raw, decoder })
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() && self.decoder.can_collect() == 0 {
            if !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.raw, BlockDecodingStrategy::UptoBytes(buffer.len()))
                    .map_err(|error| io::Error::other(error.to_string()))?;
            } else if self.raw.fill_buf()?.is_empty() {
                return Ok(0);
            } else {
                match self.decoder.reset(&mut self.raw) {
                    Ok(()) => {}
                    Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                        io::copy(&mut (&mut self.raw).take(length.into()), &mut io::sink())?;
                    }
                    Err(error) => return Err(io::Error::other(error.to_string())),
                }
            }
        }
        self.decoder.read(buffer)
    }
}

/// What a layer may not be.
#[derive(Debug)]
struct TooLarge(String);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooLarge {}

struct Watch {
    limits: Limits,
    packed: Rc<Cell<u64>>,
    /// What the layers before this one unpacked to.
    before: u64,
}

/// Counts what is read, hashes it where that is asked for, and stops what grows too large.
struct Watched<R> {
    reader: R,
    count: Rc<Cell<u64>>,
    hash: Option<Rc<RefCell<Sha256>>>,
    watch: Option<Watch>,
}

impl<R> Watched<R> {
    fn new(reader: R, hashes: bool, count: Rc<Cell<u64>>, watch: Option<Watch>) -> Self {
        Self { reader, count, hash: hashes.then(Rc::default), watch }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let count = self.count.get() + read as u64;
        self.count.set(count);
        if let Some(hash) = &self.hash {
            hash.borrow_mut().update(&buffer[..read]);
        }
        if let Some(Watch { limits, packed, before }) = &self.watch {
            if count > limits.total {
                let what = format!("the image unpacks to more than {} GiB", limits.total >> 30);
                return Err(io::Error::other(TooLarge(what)));
            }
            let (own, packed) = (count - before, packed.get());
            if limits.growth.is_some_and(|growth| own > limits.unsuspicious && own / growth > packed) {
                let what = format!("{packed} bytes of it unpack to {} MiB and more, as a zip bomb does", own >> 20);
                return Err(io::Error::other(TooLarge(what)));
            }
        }
        Ok(read)
    }
}
