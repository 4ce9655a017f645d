//! Versions, each ordered by the rule of its own ecosystem.
//!
//! OSV says "in the order of the ecosystem" for `ECOSYSTEM` ranges. `SEMVER` ranges are read by the same rule, because the
//! installed version is one of the ecosystem's: where the two could differ, its own tool is what decides which is newer.
//!
//! | ecosystem | rule |
//! |---|---|
//! | npm, crates.io, Go | SemVer 2.0, section 11; a leading `v` is no part of it |
//! | PyPI | PEP 440 |
//! | RubyGems | `Gem::Version` |
//! | Packagist | Composer's normalised form, compared as PHP's `version_compare` does |
//! | Debian, Ubuntu | dpkg's |
//! | Alpine, Wolfi, Chainguard, MinimOS | apk's |
//! | distributions with rpm | rpm's |

mod apk;
mod composer;
mod debian;
mod gem;
mod rpm;

use std::cmp::Ordering;
use std::fmt;

use crate::distribution::Format;
use crate::inventory::Ecosystem;

/// A version that can be compared with others of its ecosystem. Two that the ecosystem takes for the same are equal, however
/// they are written.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    order: Order,
}

/// Versions of different ecosystems are never compared; if they are, the order of these members decides.
#[derive(Clone, Debug)]
enum Order {
    /// OSV's `0`: before every other version.
    First,
    Semver(semver::Version),
    Pep440(pep440_rs::Version),
    Gem(gem::Version),
    Composer(composer::Version),
    Debian(Box<debian::Version>),
    Apk(Box<apk::Version>),
    Rpm(Box<rpm::Version>),
}

impl Version {
    /// Reads a version as the ecosystem writes it, and as advisories sometimes do: with a `v` in front, or with parts missing.
    pub fn parse(ecosystem: Ecosystem, text: &str) -> Option<Self> {
        let text = text.trim();
        let order = match ecosystem {
            Ecosystem::Npm | Ecosystem::CratesIo | Ecosystem::Go => {
                let version = semver(text)?;
                return Some(Self { text: version.to_string(), order: Order::Semver(version) });
            }
            Ecosystem::PyPi => Order::Pep440(text.parse().ok()?),
            Ecosystem::RubyGems => Order::Gem(gem::Version::parse(text)?),
            Ecosystem::Packagist => Order::Composer(composer::Version::parse(text)?),
            Ecosystem::Distribution(distribution) => match distribution.format() {
                Format::Dpkg => Order::Debian(Box::new(debian::Version::parse(text)?)),
                Format::Apk => Order::Apk(Box::new(apk::Version::parse(text)?)),
                Format::Rpm => Order::Rpm(Box::new(rpm::Version::parse(text)?)),
            },
        };
        Some(Self { text: text.into(), order })
    }

    /// A version of a range's timeline, where `0` stands for the time before the first one.
    pub fn point(ecosystem: Ecosystem, text: &str) -> Option<Self> {
        if text == "0" { Some(Self { text: "0".into(), order: Order::First }) } else { Self::parse(ecosystem, text) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.order, &other.order) {
            (Order::Semver(one), Order::Semver(other)) => one.cmp_precedence(other),
            (Order::Pep440(one), Order::Pep440(other)) => one.cmp(other),
            (Order::Gem(one), Order::Gem(other)) => one.compare(other),
            (Order::Composer(one), Order::Composer(other)) => one.compare(other),
            (Order::Debian(one), Order::Debian(other)) => one.compare(other),
            (Order::Apk(one), Order::Apk(other)) => one.compare(other),
            (Order::Rpm(one), Order::Rpm(other)) => one.compare(other),
            (one, other) => one.place().cmp(&other.place()),
        }
    }
}

impl Order {
    fn place(&self) -> u8 {
        match self {
            Self::First => 0,
            Self::Semver(_) => 1,
            Self::Pep440(_) => 2,
            Self::Gem(_) => 3,
            Self::Composer(_) => 4,
            Self::Debian(_) => 5,
            Self::Apk(_) => 6,
            Self::Rpm(_) => 7,
        }
    }
}

/// The digits in front, without zeros that do not count, and what comes after them.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let (digits, rest) = text.split_at(text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len()));
    (&digits[digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len())..], rest)
}

fn semver(text: &str) -> Option<semver::Version> {
    let text = text.strip_prefix(['v', 'V', '=']).unwrap_or(text);
    if let Ok(version) = semver::Version::parse(text) {
        return Some(version);
    }
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut parts = [0; 3];
    let mut count = 0;
    for part in numbers.split('.') {
        *parts.get_mut(count)? = part.parse().ok()?;
        count += 1;
    }
    (count < 3).then(|| semver::Version::parse(&format!("{}.{}.{}{rest}", parts[0], parts[1], parts[2])).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::distribution::OsRelease;

    fn distribution(format: Format) -> Ecosystem {
        Ecosystem::Distribution(OsRelease::default().distribution(format))
    }

    /// Each list is in ascending order; `=` joins what is the same.
    const ASCENDING: [(Ecosystem, &str); 6] = [
        (Ecosystem::Npm, "1.0.0-alpha 1.0.0-alpha.1 1.0.0-beta.2 1.0.0-beta.11 1.0.0=v1.0.0=1.0=1.0.0+build 1.0.1 1.10.0"),
        (Ecosystem::CratesIo, "0.0.0-0 0.0.0 0.1.43 2.0.8+zstd.1.5.5 2.0.9"),
        (Ecosystem::Go, "v0.0.0-20210101000000-0123456789ab v0.0.0-20240101000000-0123456789ab v0.3.5=0.3.5 v2.0.0+incompatible=2.0.0"),
        (
            Ecosystem::PyPi,
            "1.0.dev1 1.0a1.dev1 1.0a1=1.0-alpha.1 1.0b2 1.0rc1=1.0.0-rc.1=1.0c1 1.0=1.0.0=v1.0 1.0+local 1.0.post1=1.0-1 1.1 1.10 2!0.1",
        ),
        (
            // Checked with Ruby's own `Gem::Version`.
            Ecosystem::RubyGems,
            "1.0.a 1.0.a.2 1.0.a10 1.0.b1=1.0.0.b1 1.0.0-rc.1=1.0.0.pre.rc.1 1.0.0.pre1 1.0.0.rc1 1.0=1.0.0=1 1.0.0.1 1.0.10 1.1",
        ),
        (
            // Checked with Composer's own `Comparator`.
            Ecosystem::Packagist,
            "1.0-dev 1.0-alpha1=1.0.0-a1=v1.0alpha1 1.0-beta2=1.0b2 1.0-RC1=1.0.0rc1=1.0.0.0-RC.1 1.0=1.0.0=v1.0.0.0=1.0-stable=1.0+meta \
             1.0-p1=1.0-pl1=1.0.0-patch1 1.0.1 1.10 1.x-dev=1.9999999.x-dev 2.0 20.1",
        ),
    ];

    const DISTRIBUTIONS: [(Format, &str); 4] = [
        (
            // Checked with `dpkg --compare-versions`.
            Format::Dpkg,
            "1.0~~ 1.0~~a 1.0~ 1.0~rc1-1 1.0=1.0-0=0:1.0=1.00 1.0-1~deb12u1 1.0-1 1.0-1+b1 1.0-1+deb12u1 1.0-1.1 1.0a-1 1.0+b-1 1.0.1-1 \
             1.2.13.dfsg-1 1.9 1.10 1:0.1 1:1.2.3-1ubuntu0.1 1:1.2.3-1ubuntu1 2:0.0.1",
        ),
        (
            // Pairs of apk-tools' own `test/version.data`, put in order.
            Format::Apk,
            "0.1.0_alpha_pre2 0.1.0_alpha 0.1.0_alpha2 0.1.3_alpha 0.8_beta1 0.8_beta4 0.12 0.12.1 1.0.4-r3 1.0.4-r4 1.1_alpha1 1.1=1.1-r0 1.1.1-r1 \
             1.3_alpha 1.3_alpha2 1.3 1.6.8_p9-r2 1.6.8_p12-r1 1.7 1.7b 1.8.4-r3 2.02.06 2.02.10 2.3.0b-r1 2.3.0b-r4 3.1_p16=3.1_p16~1a2b \
             3.1_p17 6.0_pre1 6.0 6.0_p1 10-r1 20050718-r1 20050718-r2",
        ),
        // Checked with `rpm.vercmp` of rpm 4.18.
        (
            Format::Rpm,
            "1.0~~ 1.0~beta 1.0~rc1 1.0~rc1^git1 1.0=1.00=1_0=0:1.0 1.0^ 1.0^git1 1.0^git1.1 1.0^20240101 1.0a 1.0b 1.0.1 1.0.1a 1.1 1.10 5.5p1 \
             5.5p2 5.5p10 10xyz 10.1xyz 10.1.0 20101121 1:0.1",
        ),
        (Format::Rpm, "1.0-1~rc1 1.0-1=1.0-01 1.0-1.el9 1.0-1.el9_3 1.0-1.el9_3.1 1.0-2.el8 1.0-10"),
    ];

    #[test]
    fn each_ecosystem_has_its_own_order() {
        let distributions = DISTRIBUTIONS.map(|(format, list)| (distribution(format), list));
        for (ecosystem, list) in ASCENDING.into_iter().chain(distributions) {
            let steps: Vec<Vec<Version>> = list
                .split_ascii_whitespace()
                .map(|step| {
                    step.split('=').map(|text| Version::parse(ecosystem, text).unwrap_or_else(|| panic!("{ecosystem:?} {text}"))).collect()
                })
                .collect();
            for (at, step) in steps.iter().enumerate() {
                for (other_at, other) in steps.iter().enumerate() {
                    for (one, other) in step.iter().flat_map(|one| other.iter().map(move |other| (one, other))) {
                        assert_eq!(one.cmp(other), at.cmp(&other_at), "{ecosystem:?}: {one} and {other}");
                    }
                }
                assert!(Version::point(ecosystem, "0").unwrap() < step[0]);
            }
        }
    }

    #[test]
    fn what_is_no_version_of_the_ecosystem_is_none() {
        for (ecosystem, list) in [
            (Ecosystem::Npm, "latest 1.2.3.4 1.x 01.2.3 -1 git+ssh://x#y"),
            (Ecosystem::PyPi, "2004d 1.0-final-2 latest"),
            (Ecosystem::RubyGems, "latest 1..2 1.0_1"),
            (Ecosystem::Packagist, "dev-main latest 1.2.3.4.5-what"),
            (distribution(Format::Dpkg), "latest a:1.0 1.0/2 -1"),
            (distribution(Format::Apk), "latest 1.0_foo 1.0bc 1..2 1.0-rx 1.0~xyz"),
            (distribution(Format::Rpm), "a:1.0 - 1.0-"),
        ] {
            for text in list.split_ascii_whitespace() {
                assert!(Version::parse(ecosystem, text).is_none(), "{ecosystem:?} {text}");
            }
            assert!(Version::parse(ecosystem, "").is_none(), "{ecosystem:?}");
        }
    }

    #[test]
    fn short_and_prefixed_versions_are_completed() {
        for (text, whole) in [("v1.2.3", "1.2.3"), ("1.2", "1.2.0"), ("3", "3.0.0"), ("1.0-beta.2", "1.0.0-beta.2"), ("=4.1.0", "4.1.0")] {
            assert_eq!(Version::parse(Ecosystem::Npm, text).map(|version| version.to_string()).as_deref(), Some(whole), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC{0,24}|v?[0-9.]{0,8}[-.+_]?(dev|alpha|rc|p|x)?[0-9.+-]{0,22}") {
            let distributions = [Format::Dpkg, Format::Apk, Format::Rpm].map(distribution);
            for ecosystem in Ecosystem::LANGUAGES.into_iter().chain(distributions) {
                if let Some(version) = Version::parse(ecosystem, &text) {
                    prop_assert_eq!(version.cmp(&version.clone()), Ordering::Equal);
                }
            }
        }
    }
}
