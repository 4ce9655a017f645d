//! From lockfiles to findings, natively: the real tools' files under `fixtures/` through all pure steps.

mod export;
mod findings;
mod formats;
mod image;
mod lockfiles;
mod sbom;
