//! Decides which commands may reach Redis: calls of the filter's scripts, by body or SHA-1, and the plain commands that it
//! needs, all on keys with the prefix, and `CLUSTER SLOTS`. Any other command is replaced by one that `redis_proxy` itself
//! answers with an error. So the replies keep their order, and the other calls of the connection are not disturbed.
//!
//! Scripts that another application loaded into the same Redis are refused; otherwise any process that can connect to the
//! listener could run them.

use super::scanner::{Arg, Scanner};
use super::Violation;
use crate::{resp, Script, UNKNOWN_SHA1};
use std::fmt;
use std::ops::AddAssign;
use std::rc::Rc;

/// The largest accepted command, in bytes on the wire; also the most that one connection keeps in memory.
pub const MAX_COMMAND: usize = 1 << 20;

/// A buffer with a larger capacity than this, in bytes, is shrunk once it is empty.
const KEPT_BUFFER: usize = 16 << 10;

/// The prefix of the name with which a refused command reaches `redis_proxy`. Name and reason appear in the error:
/// `ERR unknown command 'headgate-refused-FLUSHALL', with args beginning with: …`.
pub const REFUSED_PREFIX: &[u8] = b"headgate-refused-";

/// Whether an error reply is the one to a refused command.
pub fn is_refusal(error: &[u8]) -> bool {
    error
        .windows(REFUSED_PREFIX.len())
        .any(|part| part == REFUSED_PREFIX)
}

const REFUSED_REASON: &[u8] = b"only Headgate's own calls pass here";

/// The allowed commands, scripts and keys; the same for all connections.
#[derive(Debug)]
pub struct Rules {
    key_prefix: Vec<u8>,
    scripts: &'static [Script],
    commands: Vec<String>,
}

impl Rules {
    /// Every key must begin with `key_prefix`. Include the separator, as in `ratelimit:`; without it, the keys of another
    /// application whose prefix begins the same are allowed too. `scripts` may be called: for a rolling upgrade, list those
    /// of this release and of the previous one.
    pub fn new(key_prefix: &str, scripts: &'static [Script]) -> Rules {
        Rules {
            key_prefix: key_prefix.as_bytes().to_vec(),
            scripts,
            commands: Vec::new(),
        }
    }

    /// Allows these commands too, such as `INCR`. The first argument of each must be its only key. No other argument is
    /// compared with the prefix, so do not allow commands with several keys or none (`MSET`, `RENAME`, `FLUSHALL`).
    pub fn allowing(mut self, commands: &[&str]) -> Rules {
        self.commands
            .extend(commands.iter().map(|name| (*name).to_owned()));
        self
    }

    fn has_command(&self, name: &[u8]) -> bool {
        let mut commands = self.commands.iter();
        commands.any(|command| command.as_bytes().eq_ignore_ascii_case(name))
    }

    fn has_body(&self, body: &[u8]) -> bool {
        self.scripts.iter().any(|script| script.body.as_bytes() == body)
    }

    /// Whether it is the SHA-1 of one of the scripts, or the one that probes use.
    fn has_sha1(&self, hex: &[u8]) -> bool {
        let mut names = self.scripts.iter().map(|script| script.sha1_hex);
        hex == UNKNOWN_SHA1.as_bytes() || names.any(|name| name.as_bytes().eq_ignore_ascii_case(hex))
    }
}

/// The name of a refused command, safe for RESP and logs: upper case, at most 32 bytes, with `_` for every byte that is
/// not in `[A-Z0-9_-]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommandName {
    bytes: [u8; 32],
    len: usize,
}

impl CommandName {
    /// Converts any bytes.
    pub fn of(name: &[u8]) -> CommandName {
        let mut bytes = [0; 32];
        let mut len = 0;
        for (place, byte) in bytes.iter_mut().zip(name) {
            *place = match byte.to_ascii_uppercase() {
                byte @ (b'A'..=b'Z' | b'0'..=b'9' | b'-') => byte,
                _ => b'_',
            };
            len += 1;
        }
        CommandName { bytes, len }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let name = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The commands that were replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub count: u32,
    /// The name of the last one.
    pub last: Option<CommandName>,
}

impl AddAssign for Refused {
    fn add_assign(&mut self, later: Refused) {
        self.count = self.count.saturating_add(later.count);
        self.last = later.last.or(self.last);
    }
}

/// What the next argument of the current command must be, or the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Name,
    Body,
    Sha,
    Numkeys,
    /// The number of keys that follow; the arguments after them are not checked.
    Keys(usize),
    ClusterSubcommand,
    Allowed,
    Refused,
}

impl Expected {
    /// The state after one more argument. A command that ends in any state other than `Allowed` is refused.
    fn after(self, arg: Arg<'_>, rules: &Rules) -> Expected {
        match self {
            Expected::Name if arg.bytes.eq_ignore_ascii_case(b"EVALSHA") => Expected::Sha,
            Expected::Name if arg.bytes.eq_ignore_ascii_case(b"EVAL") => Expected::Body,
            Expected::Name if arg.bytes.eq_ignore_ascii_case(b"CLUSTER") => Expected::ClusterSubcommand,
            Expected::Name if rules.has_command(arg.bytes) => Expected::Keys(1),
            Expected::Sha if rules.has_sha1(arg.bytes) => Expected::Numkeys,
            Expected::Body if rules.has_body(arg.bytes) => Expected::Numkeys,
            Expected::Numkeys => match plain_decimal(arg.bytes) {
                Some(keys) if keys <= arg.remaining() => Expected::Keys(keys),
                _ => Expected::Refused,
            },
            Expected::Keys(keys) if arg.bytes.starts_with(&rules.key_prefix) => match keys {
                1 => Expected::Allowed,
                _ => Expected::Keys(keys - 1),
            },
            Expected::ClusterSubcommand
                if arg.bytes.eq_ignore_ascii_case(b"SLOTS") && arg.remaining() == 0 =>
            {
                Expected::Allowed
            }
            Expected::Allowed => Expected::Allowed,
            _ => Expected::Refused,
        }
    }
}

/// A number from 1 up: digits only, without a leading zero. Redis requires the same of numkeys.
fn plain_decimal(text: &[u8]) -> Option<usize> {
    if !text.iter().all(u8::is_ascii_digit) || text.starts_with(b"0") {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Filters the commands of one connection.
#[derive(Debug)]
pub struct Guard {
    rules: Rc<Rules>,
    scanner: Scanner,
    state: Expected,
    /// The name of the current command.
    name: CommandName,
    /// The part of a command that has arrived so far.
    partial: Vec<u8>,
}

impl Guard {
    /// For one new connection.
    pub fn new(rules: Rc<Rules>) -> Guard {
        Guard {
            rules,
            scanner: Scanner::default(),
            state: Expected::Name,
            name: CommandName::of(b""),
            partial: Vec::new(),
        }
    }

    /// Takes the next bytes of the stream of commands and appends the commands that they complete to `out`: allowed ones
    /// unchanged, and a replacement for each other one.
    ///
    /// # Errors
    /// The bytes are not canonical RESP commands. Do not use the guard again.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Refused, Violation> {
        if self.partial.is_empty() {
            let (read, refused) = self.scan(bytes, out)?;
            self.partial
                .extend_from_slice(bytes.get(read..).unwrap_or_default());
            return Ok(refused);
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let (read, refused) = self.scan(&partial, out)?;
        partial.drain(..read.min(partial.len()));
        if partial.is_empty() {
            partial.shrink_to(KEPT_BUFFER);
        }
        self.partial = partial;
        Ok(refused)
    }

    /// Reads the complete commands in `bytes`, and returns how many bytes they have.
    fn scan(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Refused), Violation> {
        let mut refused = Refused::default();
        // Consecutive allowed commands are copied together: the bytes from `run` to `begin`.
        let (mut run, mut begin) = (0, 0);
        while let Some(arg) = self.scanner.next_arg(bytes.get(begin..).unwrap_or_default())? {
            if arg.index == 0 {
                self.state = Expected::Name;
                self.name = CommandName::of(arg.bytes);
            }
            self.state = self.state.after(arg, &self.rules);
            if arg.remaining() > 0 {
                continue;
            }
            let end = begin + self.scanner.finish();
            if self.state != Expected::Allowed {
                out.extend_from_slice(bytes.get(run..begin).unwrap_or_default());
                self.replace(out);
                refused += Refused {
                    count: 1,
                    last: Some(self.name),
                };
                run = end;
            }
            begin = end;
        }
        out.extend_from_slice(bytes.get(run..begin).unwrap_or_default());
        Ok((begin, refused))
    }

    /// Appends the replacement of a refused command.
    fn replace(&self, out: &mut Vec<u8>) {
        let name = [REFUSED_PREFIX, self.name.as_str().as_bytes()].concat();
        resp::command(out, &[&name, REFUSED_REASON]);
    }
}
