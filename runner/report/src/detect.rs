//! What the surroundings ask for: colour, Unicode, a live view. Pure: the environment comes in as a function.
//!
//! Rules: <https://no-color.org> (any non-empty `NO_COLOR`), <https://bixense.com/clicolors> (`CLICOLOR_FORCE`, `CLICOLOR`), `TERM=dumb`,
//! `CI`, and POSIX's order of locale variables.

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

fn set(env: Env<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// Whether to write colours to a stream that is, or is not, a terminal. The flag wins over the environment.
pub fn color(choice: ColorChoice, is_terminal: bool, env: Env<'_>) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set(env, "NO_COLOR").is_some() => false,
        ColorChoice::Auto if set(env, "CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        ColorChoice::Auto if set(env, "CLICOLOR").is_some_and(|value| value == "0") => false,
        ColorChoice::Auto => is_terminal && !dumb(env),
    }
}

/// Whether more than ASCII can be shown. A terminal shows what its locale says; what is no terminal takes UTF-8.
pub fn unicode(is_terminal: bool, env: Env<'_>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(env, name)).unwrap_or_default().to_ascii_lowercase();
    !is_terminal || locale.contains("utf-8") || locale.contains("utf8")
}

/// Whether `--format auto` is the live view: a terminal that can move its cursor, and no CI server behind it.
pub fn live(is_terminal: bool, env: Env<'_>) -> bool {
    is_terminal && !dumb(env) && !set(env, "CI").is_some_and(|value| value != "false" && value != "0")
}

/// CI servers that take more from a log than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// GitHub Actions, and what understands its workflow commands.
    Github,
    Gitlab,
}

/// The server that `--format auto` writes for.
pub fn server(env: Env<'_>) -> Option<Server> {
    let yes = |name: &str| set(env, name).is_some_and(|value| value == "true" || value == "1");
    if yes("GITHUB_ACTIONS") {
        return Some(Server::Github);
    }
    yes("GITLAB_CI").then_some(Server::Gitlab)
}

fn dumb(env: Env<'_>) -> bool {
    set(env, "TERM").is_none_or(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    }

    #[test]
    fn colour_follows_flag_then_environment_then_terminal() {
        use ColorChoice::{Always, Auto, Never};
        let xterm = ("TERM", "xterm");
        for (choice, terminal, pairs, wanted) in [
            (Auto, true, &[xterm][..], true),
            (Auto, false, &[xterm][..], false),
            (Auto, true, &[xterm, ("NO_COLOR", "1")][..], false),
            (Auto, true, &[xterm, ("NO_COLOR", "")][..], true),
            (Always, false, &[("NO_COLOR", "1")][..], true),
            (Never, true, &[xterm, ("CLICOLOR_FORCE", "1")][..], false),
            (Auto, false, &[("CLICOLOR_FORCE", "1")][..], true),
            (Auto, false, &[("CLICOLOR_FORCE", "0")][..], false),
            (Auto, false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")][..], false),
            (Auto, true, &[xterm, ("CLICOLOR", "0")][..], false),
            (Auto, true, &[("TERM", "dumb")][..], false),
            (Auto, true, &[][..], false),
        ] {
            assert_eq!(color(choice, terminal, &env(pairs)), wanted, "{choice:?} {terminal} {pairs:?}");
        }
    }

    #[test]
    fn unicode_follows_the_locale_of_a_terminal() {
        for (terminal, pairs, wanted) in [
            (true, &[("LANG", "en_US.UTF-8")][..], true),
            (true, &[("LANG", "C.utf8")][..], true),
            (true, &[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")][..], false),
            (true, &[("LC_ALL", ""), ("LC_CTYPE", "de_DE.ISO-8859-1"), ("LANG", "de_DE.UTF-8")][..], false),
            (true, &[][..], false),
            (false, &[][..], true),
        ] {
            assert_eq!(unicode(terminal, &env(pairs)), wanted, "{terminal} {pairs:?}");
        }
    }

    #[test]
    fn servers_say_who_they_are() {
        for (pairs, wanted) in [
            (&[("GITHUB_ACTIONS", "true"), ("CI", "true")][..], Some(Server::Github)),
            (&[("GITLAB_CI", "true")][..], Some(Server::Gitlab)),
            (&[("GITHUB_ACTIONS", "false")][..], None),
            (&[("GITHUB_ACTIONS", ""), ("CI", "true")][..], None),
        ] {
            assert_eq!(server(&env(pairs)), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn the_live_view_wants_a_capable_terminal_and_no_ci() {
        for (terminal, pairs, wanted) in [
            (true, &[("TERM", "xterm")][..], true),
            (false, &[("TERM", "xterm")][..], false),
            (true, &[("TERM", "dumb")][..], false),
            (true, &[("TERM", "xterm"), ("CI", "true")][..], false),
            (true, &[("TERM", "xterm"), ("CI", "false")][..], true),
        ] {
            assert_eq!(live(terminal, &env(pairs)), wanted, "{terminal} {pairs:?}");
        }
    }
}
