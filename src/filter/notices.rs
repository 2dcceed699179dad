//! What the transport to Redis notices, in Envoy's log.

use super::host;
use super::worker::Worker;
use crate::redis::{Level, RedisCall as _};
use crate::telemetry::notice_text;

impl Worker {
    /// Logs what the transport has noticed.
    pub(super) fn log_notices(&self) {
        loop {
            let notice = self.redis.borrow_mut().poll_notice();
            let Some(notice) = notice else { return };
            let level = match notice.level() {
                Level::Info => log::Level::Info,
                Level::Warn => log::Level::Warn,
            };
            let text = notice_text(&notice);
            match notice.is_once() {
                true => host::say_once(level, &text),
                false => log::log!(level, "headgate: {text}"),
            }
        }
    }
}
