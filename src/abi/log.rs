//! Log lines, including the one of a panic.

use super::Status;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::panic;

/// The host's level above errors.
const CRITICAL: u32 = 5;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_log(level: u32, text: *const u8, text_size: usize) -> Status;
}

/// Makes the macros of `log` and panics write into the host's log. Call it first in a VM.
pub fn install() {
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    panic::set_hook(Box::new(|info| write(CRITICAL, &info.to_string())));
}

fn write(level: u32, text: &str) {
    // SAFETY: the host reads the text during the call only.
    unsafe {
        proxy_log(level, text.as_ptr(), text.len());
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Trace => 0,
                Level::Debug => 1,
                Level::Info => 2,
                Level::Warn => 3,
                Level::Error => 4,
            };
            write(level, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}
