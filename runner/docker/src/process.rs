//! The runner's process as a name that another runner can check.
//!
//! `machine/boot/namespace/pid/start`: process numbers are used again, so the start time belongs to it; they mean something in one pid namespace of
//! one boot of one machine only. What can't be judged from here counts as alive.

use std::fs;

/// Of this process.
pub(crate) fn this() -> String {
    let pid = std::process::id();
    let start = started(pid).unwrap_or_default();
    format!("{}/{}/{}/{pid}/{start}", machine(), boot(), namespace())
}

/// Whether it can be told from here that the process is no more.
pub(crate) fn is_gone(process: &str) -> bool {
    let parts: Vec<&str> = process.split('/').collect();
    let [machine_of, boot_of, namespace_of, pid, start] = parts[..] else { return false };
    if boot_of != boot() {
        // a boot before this one; without the machine's id it may be another machine that shares the engine
        return !machine_of.is_empty() && machine_of == machine();
    }
    let Ok(pid) = pid.parse() else { return false };
    namespace_of == namespace() && started(pid).is_none_or(|now| now != start)
}

fn machine() -> String {
    fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

/// When it was started, in ticks since the boot. None: there is no such process, or only what is left of one.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name, in brackets, may hold anything; the state follows it, the start is field 22
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18).map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there_and_others_are_judged_by_what_can_be_known() {
        let here = this();
        assert!(!is_gone(&here), "{here}");
        let parts: Vec<&str> = here.split('/').collect();
        let with = |at: usize, value: &str| {
            let mut parts = parts.clone();
            parts[at] = value;
            parts.join("/")
        };
        assert!(is_gone(&with(4, "1")), "the number was used again");
        assert!(is_gone(&with(3, "4194999")), "no such process");
        assert!(!is_gone(&with(2, "1")), "another pid namespace can't be judged");
        assert_eq!(is_gone(&with(1, "an-earlier-boot")), !machine().is_empty());
        let elsewhere = with(1, "a-boot").replacen(parts[0], "another-machine", 1);
        assert!(!is_gone(&elsewhere), "another machine can't be judged");
        assert!(!is_gone("") && !is_gone("boot/1/2"), "not a name of this form");
    }

    #[test]
    fn a_process_that_nobody_waited_for_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let name = format!("{}/{}/{}/{}/{}", machine(), boot(), namespace(), child.id(), started(child.id()).unwrap());
        assert!(!is_gone(&name));
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !is_gone(&name) && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(is_gone(&name), "a zombie does nothing any more");
        child.wait().unwrap();
    }
}
