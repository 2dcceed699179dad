//! The processor time that processes have used.

use std::fs::read_to_string;

/// User and system time of a process since its start, all threads, in µs; 0 for one that is gone.
fn used_micros(pid: u32) -> f64 {
    let text = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // the name, in parentheses, may hold spaces: fields count from behind it, utime being the 14th of all
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    ticks / per_second * 1e6
}

/// Measures from here on what processes use together.
pub struct Meter {
    pids: Vec<u32>,
    before: f64,
}

impl Meter {
    pub fn start(pids: Vec<u32>) -> Meter {
        let before = pids.iter().copied().map(used_micros).sum();
        Meter { pids, before }
    }

    /// µs of processor time for each of so many requests; NaN where no process was measured.
    pub fn per_request(&self, requests: f64) -> f64 {
        if self.pids.is_empty() {
            return f64::NAN;
        }
        let after: f64 = self.pids.iter().copied().map(used_micros).sum();
        (after - self.before) / requests
    }
}
