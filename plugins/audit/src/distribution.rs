//! Linux distributions: which one an image is of, and what OSV calls its release.
//!
//! What `os-release` says (freedesktop.org, `os-release(5)`) becomes a small value, so that it can be part of an
//! [`Ecosystem`](crate::inventory::Ecosystem). Deliberately absent: Red Hat Enterprise Linux, SUSE Linux Enterprise and
//! distributions without a database of their own at OSV. OSV names the first two by product and repository, which an image does
//! not tell of its packages. They are read and listed, and reported as not looked up.

/// How a distribution keeps and orders its packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    Dpkg,
    Apk,
    Rpm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Debian,
    Ubuntu,
    Alpine,
    Wolfi,
    Chainguard,
    MinimOs,
    Rocky,
    Alma,
    Leap,
    Tumbleweed,
    AzureLinux,
    Mageia,
    /// Any other one, about whose releases nothing can be looked up.
    Other(Format),
}

/// One release of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distribution {
    pub family: Family,
    pub major: u16,
    pub minor: u16,
    /// Ubuntu's releases with long-term support have another name at OSV.
    pub long_term: bool,
}

/// What an `os-release` file says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `debian`, `alpine`, …; `linux` where the file says nothing.
    pub id: String,
    /// `12`, `3.19.1`; empty for rolling and unreleased distributions.
    pub version_id: String,
    version: String,
    /// For people: `Debian GNU/Linux 12 (bookworm)`.
    pub pretty_name: String,
}

impl OsRelease {
    pub fn parse(text: &str) -> Self {
        let mut release = Self { id: "linux".into(), ..Self::default() };
        for (key, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
            let value = unquoted(value);
            match key {
                "ID" => release.id = value.to_ascii_lowercase(),
                "VERSION_ID" => release.version_id = value,
                "VERSION" => release.version = value,
                "PRETTY_NAME" => release.pretty_name = value,
                _ => {}
            }
        }
        release
    }

    /// What to call it in a message.
    pub fn name(&self) -> String {
        match (self.pretty_name.is_empty(), self.version_id.is_empty()) {
            (false, _) => self.pretty_name.clone(),
            (true, false) => format!("{} {}", self.id, self.version_id),
            (true, true) => self.id.clone(),
        }
    }

    /// The release whose packages are kept in this format.
    pub fn distribution(&self, format: Format) -> Distribution {
        let mut numbers = self.version_id.split(['.', '_', '-']).map_while(|part| part.parse::<u16>().ok());
        let (major, minor) = (numbers.next(), numbers.next());
        // A number is needed where OSV has one; without it the packages are those of a release that is not out yet.
        let family = match (self.id.as_str(), format, major, minor) {
            ("debian", Format::Dpkg, Some(_), _) => Family::Debian,
            ("ubuntu", Format::Dpkg, Some(_), Some(_)) => Family::Ubuntu,
            // `3.21.0_alpha20240807` is what edge is called.
            ("alpine", Format::Apk, Some(_), Some(_)) if !self.version_id.contains("_alpha") => Family::Alpine,
            ("wolfi", Format::Apk, ..) => Family::Wolfi,
            ("chainguard", Format::Apk, ..) => Family::Chainguard,
            ("minimos", Format::Apk, ..) => Family::MinimOs,
            ("rocky", Format::Rpm, Some(_), _) => Family::Rocky,
            ("almalinux", Format::Rpm, Some(_), _) => Family::Alma,
            ("opensuse-leap", Format::Rpm, Some(_), Some(_)) => Family::Leap,
            ("opensuse-tumbleweed", Format::Rpm, ..) => Family::Tumbleweed,
            ("azurelinux" | "mariner", Format::Rpm, Some(_), _) => Family::AzureLinux,
            ("mageia", Format::Rpm, Some(_), _) => Family::Mageia,
            _ => Family::Other(format),
        };
        let long_term = family == Family::Ubuntu && self.version.contains("LTS");
        Distribution { family, major: major.unwrap_or_default(), minor: minor.unwrap_or_default(), long_term }
    }
}

/// A value without its shell quotes.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value);
    inner.replace('\\', "")
}

impl Distribution {
    pub fn format(self) -> Format {
        match self.family {
            Family::Debian | Family::Ubuntu | Family::Other(Format::Dpkg) => Format::Dpkg,
            Family::Alpine | Family::Wolfi | Family::Chainguard | Family::MinimOs | Family::Other(Format::Apk) => Format::Apk,
            Family::Rocky | Family::Alma | Family::Leap | Family::Tumbleweed | Family::AzureLinux | Family::Mageia => Format::Rpm,
            Family::Other(Format::Rpm) => Format::Rpm,
        }
    }

    /// The ecosystem in OSV's records; `None` if OSV has none that could be named.
    pub fn osv_name(self) -> Option<String> {
        let Self { family, major, minor, long_term } = self;
        Some(match family {
            Family::Debian => format!("Debian:{major}"),
            Family::Ubuntu => format!("Ubuntu:{major}.{minor:02}{}", if long_term { ":LTS" } else { "" }),
            Family::Alpine => format!("Alpine:v{major}.{minor}"),
            Family::Wolfi => "Wolfi".into(),
            Family::Chainguard => "Chainguard".into(),
            Family::MinimOs => "MinimOS".into(),
            Family::Rocky => format!("Rocky Linux:{major}"),
            Family::Alma => format!("AlmaLinux:{major}"),
            Family::Leap => format!("openSUSE:Leap {major}.{minor}"),
            Family::Tumbleweed => "openSUSE:Tumbleweed".into(),
            Family::AzureLinux => format!("Azure Linux:{major}"),
            Family::Mageia => format!("Mageia:{major}"),
            Family::Other(_) => return None,
        })
    }

    /// Whether its advisories name what was built (AlmaLinux) rather than the source that it was built from (all others).
    pub fn names_binaries(self) -> bool {
        self.family == Family::Alma
    }

    /// The namespace of its package URLs and what `distro=` says there; `None` for a distribution that is not known.
    pub fn purl_names(self) -> Option<(&'static str, String)> {
        let Self { family, major, minor, .. } = self;
        Some(match family {
            Family::Debian => ("debian", format!("debian-{major}")),
            Family::Ubuntu => ("ubuntu", format!("ubuntu-{major}.{minor:02}")),
            Family::Alpine => ("alpine", format!("alpine-{major}.{minor}")),
            Family::Wolfi => ("wolfi", "wolfi".into()),
            Family::Chainguard => ("chainguard", "chainguard".into()),
            Family::MinimOs => ("minimos", "minimos".into()),
            Family::Rocky => ("rocky-linux", format!("rocky-linux-{major}")),
            Family::Alma => ("almalinux", format!("almalinux-{major}")),
            Family::Leap => ("opensuse", format!("opensuse-leap-{major}.{minor}")),
            Family::Tumbleweed => ("opensuse", "opensuse-tumbleweed".into()),
            Family::AzureLinux => ("azure-linux", format!("azure-linux-{major}")),
            Family::Mageia => ("mageia", format!("mageia-{major}")),
            Family::Other(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str, format: Format) -> Option<String> {
        OsRelease::parse(text).distribution(format).osv_name()
    }

    #[test]
    fn releases_have_the_names_that_osv_gives_them() {
        for (text, format, expected) in [
            ("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian", Format::Dpkg, Some("Debian:12")),
            ("PRETTY_NAME=\"Debian GNU/Linux trixie/sid\"\nID=debian", Format::Dpkg, None),
            ("ID=ubuntu\nVERSION_ID=\"22.04\"\nVERSION=\"22.04.3 LTS (Jammy Jellyfish)\"", Format::Dpkg, Some("Ubuntu:22.04:LTS")),
            ("ID=ubuntu\nVERSION_ID='23.10'\nVERSION='23.10 (Mantic Minotaur)'", Format::Dpkg, Some("Ubuntu:23.10")),
            ("ID=alpine\nVERSION_ID=3.19.1", Format::Apk, Some("Alpine:v3.19")),
            ("ID=alpine\nVERSION_ID=3.21.0_alpha20240807", Format::Apk, None),
            ("ID=wolfi\nVERSION_ID=\"20230201\"", Format::Apk, Some("Wolfi")),
            ("ID=\"rocky\"\nVERSION_ID=\"9.3\"", Format::Rpm, Some("Rocky Linux:9")),
            ("ID=\"almalinux\"\nVERSION_ID=\"8.9\"", Format::Rpm, Some("AlmaLinux:8")),
            ("ID=\"opensuse-leap\"\nVERSION_ID=\"15.5\"", Format::Rpm, Some("openSUSE:Leap 15.5")),
            ("ID=\"opensuse-tumbleweed\"\nVERSION_ID=\"20240101\"", Format::Rpm, Some("openSUSE:Tumbleweed")),
            ("ID=mariner\nVERSION_ID=\"2.0\"", Format::Rpm, Some("Azure Linux:2")),
            ("ID=\"rhel\"\nVERSION_ID=\"9.3\"", Format::Rpm, None),
            ("ID=fedora\nVERSION_ID=39", Format::Rpm, None),
            // An rpm database on Debian is not Debian's.
            ("ID=debian\nVERSION_ID=12", Format::Rpm, None),
            ("", Format::Apk, None),
        ] {
            assert_eq!(name(text, format).as_deref(), expected, "{text}");
            assert_eq!(OsRelease::parse(text).distribution(format).format(), format);
        }
    }

    #[test]
    fn a_release_has_a_name_for_people() {
        assert_eq!(OsRelease::parse("PRETTY_NAME=\"Fedora Linux 39\"\nID=fedora\nVERSION_ID=39").name(), "Fedora Linux 39");
        assert_eq!(OsRelease::parse("ID=fedora\nVERSION_ID=39").name(), "fedora 39");
        assert_eq!(OsRelease::parse("# nothing").name(), "linux");
    }
}
