//! What the kernel says of this process. Systems without `/proc` say nothing.

use std::fs;

/// The kernel's unit of time in `/proc`, whatever its own clock: 100 to the second on every port of
/// Linux that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Process {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_fds: Option<u64>,
    pub(super) start_time_seconds: Option<f64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let system = fs::read_to_string("/proc/stat").unwrap_or_default();
        // The descriptor that lists the directory is open as well, and counted away again.
        let open_fds = fs::read_dir("/proc/self/fd").ok().map(|listing| listing.count() as u64);
        Self {
            resident_bytes: line_value(&status, "VmRSS:").map(|kilobytes| kilobytes * 1024),
            cpu_seconds: stat_field(&stat, 14)
                .zip(stat_field(&stat, 15))
                .map(|(user, system)| (user + system) as f64 / TICKS_PER_SECOND),
            open_fds: open_fds.map(|count| count.saturating_sub(1)),
            start_time_seconds: line_value(&system, "btime")
                .zip(stat_field(&stat, 22))
                .map(|(boot, ticks)| boot as f64 + ticks as f64 / TICKS_PER_SECOND),
        }
    }
}

/// The number after `key` at the beginning of a line.
fn line_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

/// A field of `/proc/self/stat`, counted from one as proc(5) does. The second, the program's name, may
/// hold spaces and parentheses, so counting begins after its last parenthesis.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(number.checked_sub(3)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 111 222 0";
        assert_eq!((stat_field(stat, 14), stat_field(stat, 15)), (Some(111), Some(222)));
        assert_eq!(stat_field(stat, 22), None);
    }

    #[test]
    fn values_are_read_from_their_lines() {
        assert_eq!(line_value("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(line_value("", "btime"), None);
    }
}
