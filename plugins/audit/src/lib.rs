//! The audit stage: which dependencies have known vulnerabilities or licences that the project does not want.
//!
//! The work is a line of pure steps, each tested natively: [`search`] chooses lockfiles, [`lockfile`] reads them into an
//! [`inventory`], as [`image`] does with what a container image holds, [`matching`] finds what applies ([`osv_export`] or [`osv_api`] hold the advisories, [`range`], [`version`] and
//! [`severity`] read them), [`verdict`] decides and words the findings, [`sbom`] writes the bill of materials. Only this file
//! and [`stage`] know that there is a host.

pub mod advisory;
pub mod cargo_metadata;
pub mod distribution;
pub mod image;
pub mod inventory;
pub mod license;
pub mod lockfile;
pub mod matching;
pub mod osv_api;
pub mod osv_export;
pub mod purl;
pub mod range;
pub mod sbom;
pub mod search;
pub mod settings;
pub mod severity;
mod stage;
pub mod verdict;
pub mod version;

runner_sdk::export!(stage::Audit);
