//! Host functions for requests and for data that workers share: headers, properties, replies, ticks, metrics and shared
//! data. An error of the host is a `None` or a `false`, whatever its status.

use super::{owned, Status, OK};
use crate::headers::Header;
use crate::identify::Headers;
use crate::local::{Refused, SharedData, Version};
use crate::reply::Reply;
use crate::telemetry::meter::{Meter, MetricKind};
use log::Level;
use std::ptr::null_mut;

const CAS_MISMATCH: Status = 8;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> Status;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> Status;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> Status;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> Status;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> Status;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> Status;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> Status;
    fn proxy_set_effective_context(context: u32) -> Status;
    fn proxy_continue_stream(stream: u32) -> Status;
    fn proxy_set_tick_period_milliseconds(period: u32) -> Status;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> Status;
    fn proxy_increment_metric(id: u32, by: i64) -> Status;
    fn proxy_record_metric(id: u32, value: u64) -> Status;
    fn proxy_get_shared_data(
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        version: *mut u32,
    ) -> Status;
    fn proxy_set_shared_data(
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
        version: u32,
    ) -> Status;
}

/// The message whose headers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Map {
    Request = 0,
    RequestTrailers = 1,
    Response = 2,
    ResponseTrailers = 3,
}

/// All headers of one message, from one host call.
pub struct HeaderMap(Vec<u8>);

impl HeaderMap {
    pub fn read(map: Map) -> HeaderMap {
        let (mut data, mut size) = (null_mut(), 0);
        // SAFETY: the host writes a buffer that it allocated through the module's allocator, and its size.
        HeaderMap(unsafe {
            let status = proxy_get_header_map_pairs(map as u32, &mut data, &mut size);
            owned(status, data, size).unwrap_or_default()
        })
    }

    /// Names (lower case) and values, in order.
    pub fn iter(&self) -> HeaderIter<'_> {
        let (count, rest) = self.0.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let sizes = (u32::from_le_bytes(*count) as usize).saturating_mul(8);
        let (sizes, text) = rest.split_at_checked(sizes).unwrap_or_default();
        HeaderIter {
            sizes: sizes.as_chunks().0.as_chunks().0,
            text,
        }
    }
}

impl Headers for HeaderMap {
    fn each_value<'a>(&'a self, name: &str, take: &mut dyn FnMut(&'a [u8])) {
        let mut headers = self.iter();
        while let Some((header, length)) = headers.step() {
            // Most names have different lengths, which is the cheaper comparison.
            if length != name.len() {
                continue;
            }
            match split(header, length) {
                Some((known, value)) if known == name.as_bytes() => take(value),
                _ => {}
            }
        }
    }

    fn each_header<'a>(&'a self, take: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        self.iter().for_each(|(name, value)| take(name, value));
    }
}

/// Iterates over the headers of a [`HeaderMap`].
pub struct HeaderIter<'a> {
    /// The lengths of each name and its value, as two 32-bit words.
    sizes: &'a [[[u8; 4]; 2]],
    /// Names and values, each followed by a NUL.
    text: &'a [u8],
}

impl<'a> HeaderIter<'a> {
    /// The text of the next header, and the length of its name in bytes.
    fn step(&mut self) -> Option<(&'a [u8], usize)> {
        let ([name, value], sizes) = self.sizes.split_first()?;
        let (name, value) = (
            u32::from_le_bytes(*name) as usize,
            u32::from_le_bytes(*value) as usize,
        );
        let (header, text) = self.text.split_at_checked(name + value + 2)?;
        (self.sizes, self.text) = (sizes, text);
        Some((header, name))
    }
}

/// Splits a header's text into its name, of `name` bytes, and its value.
fn split(header: &[u8], name: usize) -> Option<(&[u8], &[u8])> {
    let (name, value) = header.split_at_checked(name)?;
    Some((name, value.strip_prefix(b"\0")?.strip_suffix(b"\0")?))
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (header, name) = self.step()?;
        split(header, name)
    }
}

pub fn set_header(map: Map, (name, value): &Header) {
    let mut buffer = itoa::Buffer::new();
    let value = value.as_str(&mut buffer);
    // SAFETY: the host reads both strings during the call only.
    unsafe {
        proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len());
    }
}

/// Adds a header that is known to be absent: the host does not search for it.
pub fn add_header(map: Map, (name, value): &Header) {
    let mut buffer = itoa::Buffer::new();
    let value = value.as_str(&mut buffer);
    // SAFETY: the host reads both strings during the call only.
    unsafe {
        proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len());
    }
}

pub fn remove_header(map: Map, name: &str) {
    // SAFETY: the host reads the name during the call only.
    unsafe {
        proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len());
    }
}

/// A property; the parts of its path are separated by NUL. `None`: the property does not exist.
pub fn property(path: &[u8]) -> Option<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: as for the headers.
    unsafe {
        let status = proxy_get_property(path.as_ptr(), path.len(), &mut data, &mut size);
        owned(status, data, size)
    }
}

/// Sets `wasm.<name>` in the request's filter state.
pub fn set_filter_state(name: &str, value: &[u8]) {
    // SAFETY: the host reads both during the call only.
    unsafe {
        proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len());
    }
}

/// Answers the request of the effective context. Envoy sends the gRPC status to gRPC callers, and the HTTP status to all
/// others.
pub fn reply(reply: &Reply) -> bool {
    let Reply { details, body, .. } = reply;
    let headers = serialize(&reply.headers);
    // SAFETY: the host reads everything during the call only.
    unsafe {
        proxy_send_local_response(
            reply.status.into(),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            reply.grpc_status as i32,
        ) == OK
    }
}

/// Encodes headers for the host: count, sizes, then names and values, each followed by a NUL.
fn serialize(headers: &[Header]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + headers.len() * 48);
    bytes.extend_from_slice(&(headers.len() as u32).to_le_bytes());
    bytes.resize(4 + headers.len() * 8, 0);
    for (at, (name, value)) in headers.iter().enumerate() {
        let mut buffer = itoa::Buffer::new();
        let value = value.as_str(&mut buffer);
        let sizes = [name.len(), value.len()].map(|size| (size as u32).to_le_bytes());
        if let Some(place) = bytes.get_mut(4 + at * 8..12 + at * 8) {
            place.copy_from_slice(sizes.as_flattened());
        }
        for text in [name, value] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

/// Makes the following host calls apply to `context`; `false`: it has been deleted.
pub fn set_effective_context(context: u32) -> bool {
    // SAFETY: no memory is involved.
    unsafe { proxy_set_effective_context(context) == OK }
}

/// Resumes the paused request of the effective context.
pub fn resume_request() {
    // SAFETY: no memory is involved. 0 is the request's stream.
    unsafe {
        proxy_continue_stream(0);
    }
}

/// Sets the tick period of the root context, in ms; 0: no ticks.
pub fn set_tick_period(millis: u32) {
    // SAFETY: no memory is involved.
    unsafe {
        proxy_set_tick_period_milliseconds(millis);
    }
}

/// The proxy's metrics.
pub struct Metrics;

impl Meter for Metrics {
    fn define(&self, kind: MetricKind, name: &str) -> Option<u32> {
        let mut id = 0;
        // SAFETY: the host reads the name and writes the id during the call only.
        let status = unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) };
        (status == OK).then_some(id)
    }

    fn add(&self, id: u32, by: i64) {
        // SAFETY: no memory is involved.
        unsafe {
            proxy_increment_metric(id, by);
        }
    }

    fn record(&self, id: u32, value: u64) {
        // SAFETY: no memory is involved.
        unsafe {
            proxy_record_metric(id, value);
        }
    }
}

/// Values that all workers with the same `vm_id` share.
#[derive(Debug, Clone, Copy)]
pub struct SharedValues;

impl SharedData for SharedValues {
    fn get(&self, name: &str) -> Option<(Vec<u8>, Version)> {
        let (mut data, mut size, mut version) = (null_mut(), 0, 0);
        // SAFETY: as for the headers; the host writes the version, too.
        let value = unsafe {
            let status = proxy_get_shared_data(name.as_ptr(), name.len(), &mut data, &mut size, &mut version);
            owned(status, data, size)
        };
        Some((value?, Version(version)))
    }

    fn replace(&self, name: &str, value: &[u8], Version(version): Version) -> Result<(), Refused> {
        // SAFETY: the host reads both during the call only.
        let status =
            unsafe { proxy_set_shared_data(name.as_ptr(), name.len(), value.as_ptr(), value.len(), version) };
        match status {
            OK => Ok(()),
            CAS_MISMATCH => Err(Refused::Changed),
            _ => Err(Refused::Failed),
        }
    }
}

/// Logs a line once for all workers. The first VM that has the line, usually the one of the main thread, writes it.
pub fn log_once(level: Level, text: &str) {
    if SharedValues.get(text).is_none() {
        log::log!(level, "{text}");
        let _unsaid = SharedValues.replace(text, b"said", Version::ABSENT);
    }
}
