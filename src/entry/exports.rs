//! The functions that the host calls, each with the number of a context. The host does not call functions that are not
//! exported here, such as those for bodies, the end of a connection, or a request's log line.
//! Source: <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>, proxy-wasm-cpp-host `src/context.cc`.

use super::{Root, Stream};
use crate::abi::contexts::Contexts;
use crate::abi::{log, FilterStatus, HeadersStatus};
use crate::filter::{panic_hook, Request, Worker};
use std::rc::Rc;

thread_local! {
    static CONTEXTS: Contexts<Root, Stream> = Contexts::default();
}

fn root(id: u32) -> Option<Rc<Root>> {
    CONTEXTS.with(|contexts| contexts.root(id))
}

/// Calls `call` with the worker of a root context.
fn with_worker(id: u32, call: impl FnOnce(&Worker)) {
    if let Some(worker) = root(id).as_deref().and_then(Root::worker) {
        call(worker);
    }
}

/// Calls `call` with a request that has been opened.
fn with_request(id: u32, call: impl FnOnce(&Request)) {
    if let Some(Stream::Request(request)) = CONTEXTS.with(|contexts| contexts.stream(id)).as_deref() {
        call(request);
    }
}

extern "C" {
    /// The constructors that run before `main` in a program. All are of the C library.
    fn __wasm_call_ctors();
}

#[no_mangle]
extern "C" fn _initialize() {
    // SAFETY: the host calls this function once, and before any other.
    unsafe { __wasm_call_ctors() };
    log::install();
    panic_hook::install();
}

/// The name of this function declares the version of the ABI to the host.
#[no_mangle]
extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
extern "C" fn proxy_on_context_create(id: u32, parent: u32) {
    CONTEXTS.with(|contexts| contexts.create(id, parent, Root::default));
}

#[no_mangle]
extern "C" fn proxy_on_delete(id: u32) {
    CONTEXTS.with(|contexts| contexts.delete(id));
}

#[no_mangle]
extern "C" fn proxy_on_configure(id: u32, size: usize) -> bool {
    root(id).is_some_and(|root| root.on_configure(size))
}

#[no_mangle]
extern "C" fn proxy_on_tick(id: u32) {
    with_worker(id, Worker::on_tick);
}

#[no_mangle]
extern "C" fn proxy_on_request_headers(id: u32, _count: u32, _end_of_stream: u32) -> HeadersStatus {
    let stream = CONTEXTS.with(|contexts| contexts.open(id, |root| root.request(id)));
    match stream.as_deref() {
        None => HeadersStatus::Continue,
        Some(Stream::Request(request)) => request.on_request_headers(),
        Some(_) => HeadersStatus::StopAllIterationAndWatermark,
    }
}

#[no_mangle]
extern "C" fn proxy_on_request_trailers(id: u32, _count: u32) -> FilterStatus {
    with_request(id, Request::on_request_trailers);
    FilterStatus::Continue
}

#[no_mangle]
extern "C" fn proxy_on_response_headers(id: u32, _count: u32, _end_of_stream: u32) -> HeadersStatus {
    with_request(id, Request::on_response_headers);
    HeadersStatus::Continue
}

#[no_mangle]
extern "C" fn proxy_on_response_trailers(id: u32, _count: u32) -> FilterStatus {
    with_request(id, Request::on_response_trailers);
    FilterStatus::Continue
}

#[no_mangle]
extern "C" fn proxy_on_new_connection(id: u32) -> FilterStatus {
    match CONTEXTS
        .with(|contexts| contexts.open(id, Root::connection))
        .as_deref()
    {
        #[cfg(not(feature = "higress"))]
        Some(Stream::Connection(_)) => FilterStatus::Continue,
        Some(_) => FilterStatus::StopIteration,
        None => FilterStatus::Continue,
    }
}

/// Data reaches Redis only through a guard: not from a connection that was refused, and not from a closed one whose context
/// has been deleted.
#[no_mangle]
extern "C" fn proxy_on_downstream_data(id: u32, _size: usize, _end_of_stream: u32) -> FilterStatus {
    match CONTEXTS.with(|contexts| contexts.stream(id)).as_deref() {
        #[cfg(not(feature = "higress"))]
        Some(Stream::Connection(connection)) => connection.on_downstream_data(_size),
        _ => FilterStatus::StopIteration,
    }
}

#[cfg(not(feature = "higress"))]
#[no_mangle]
extern "C" fn proxy_on_upstream_data(id: u32, size: usize, _end_of_stream: u32) -> FilterStatus {
    if let Some(Stream::Connection(connection)) = CONTEXTS.with(|contexts| contexts.stream(id)).as_deref() {
        connection.on_upstream_data(size);
    }
    FilterStatus::Continue
}

#[cfg(not(feature = "higress"))]
#[no_mangle]
extern "C" fn proxy_on_grpc_receive(id: u32, stream: u32, size: usize) {
    with_worker(id, |worker| worker.on_message(stream, size));
}

#[cfg(not(feature = "higress"))]
#[no_mangle]
extern "C" fn proxy_on_grpc_close(id: u32, stream: u32, status: u32) {
    with_worker(id, |worker| worker.on_close(stream, status));
}

/// Source: higress-group/proxy-wasm-cpp-host `src/context.cc` (onRedisCallResponse): the root context's number, the
/// token, the status and the reply's size.
#[cfg(feature = "higress")]
#[no_mangle]
extern "C" fn proxy_on_redis_call_response(id: u32, token: u32, status: u32, size: usize) {
    with_worker(id, |worker| worker.on_redis_call_response(token, status, size));
}
