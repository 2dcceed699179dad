//! The context of one request: passes its headers to the engine, and later its response or its end.

use super::exchange::{remove_from, HostRequest, HostResponse};
use super::host::{self, HeaderMap};
use super::worker::{Outcome, Waiting, Worker};
use crate::abi::HeadersStatus;
use crate::engine::{Admitted, RequestId};
use crate::headers::Family;
use crate::model::UpstreamHeaders;
use std::cell::Cell;
use std::rc::Rc;

/// The HTTP context. The host may call it while another of its callbacks is still running, so all fields that change
/// are cells.
pub struct Request {
    context: u32,
    worker: Rc<Worker>,
    waits: Cell<Option<(RequestId, Rc<Waiting>)>>,
    admitted: Cell<Option<Admitted>>,
}

impl Request {
    pub fn new(context: u32, worker: Rc<Worker>) -> Request {
        Request {
            context,
            worker,
            waits: Cell::default(),
            admitted: Cell::default(),
        }
    }

    pub fn on_request_headers(&self) -> HeadersStatus {
        if !self.worker.policy.enabled {
            return HeadersStatus::Continue;
        }
        let mut request = HostRequest::new();
        #[cfg(feature = "fault-injection")]
        request.panic_if_requested();
        match self.worker.on_request(self.context, &mut request) {
            Outcome::Pass(admitted) => {
                self.admitted.set(Some(admitted));
                HeadersStatus::Continue
            }
            Outcome::Replied => HeadersStatus::StopAllIterationAndWatermark,
            Outcome::Waits(id, waiting) => {
                self.waits.set(Some((id, waiting)));
                HeadersStatus::StopAllIterationAndWatermark
            }
        }
    }

    pub fn on_response_headers(&self) {
        let Some(admitted) = self.take_admitted() else {
            return;
        };
        let response = HostResponse::read();
        let answered = self
            .worker
            .with_engine(|engine| engine.on_response(admitted, &response));
        let Some((edits, owed)) = answered else { return };
        for name in &edits.remove {
            host::remove_header(host::Map::Response, name);
        }
        for header in &edits.add {
            host::add_header(host::Map::Response, header);
        }
        if let Some(owed) = owed {
            self.worker.charge(owed);
        }
    }

    /// Removes rate-limit headers from the trailers. Headgate never writes trailers, so such headers come from the
    /// caller.
    pub fn on_request_trailers(&self) {
        if self.worker.policy.enabled {
            strip_trailers(host::Map::RequestTrailers);
        }
    }

    /// Removes rate-limit headers from the trailers of the upstream if `upstream_headers` is `replace`.
    pub fn on_response_trailers(&self) {
        let policy = &self.worker.policy;
        if policy.enabled && policy.response.upstream_headers == UpstreamHeaders::Replace {
            strip_trailers(host::Map::ResponseTrailers);
        }
    }

    /// Takes the [`Admitted`] of this request. `None`: it was taken before, or the request still waits or was refused.
    fn take_admitted(&self) -> Option<Admitted> {
        if let Some(admitted) = self.admitted.take() {
            return Some(admitted);
        }
        let (id, waiting) = self.waits.take()?;
        let admitted = waiting.admitted.take();
        if admitted.is_none() {
            self.waits.set(Some((id, waiting)));
        }
        admitted
    }
}

/// The host deletes the context when the request has ended. The engine is informed exactly once.
impl Drop for Request {
    fn drop(&mut self) {
        if let Some(admitted) = self.take_admitted() {
            let owed = self
                .worker
                .with_engine(|engine| engine.on_gone(admitted))
                .flatten();
            if let Some(owed) = owed {
                self.worker.charge(owed);
            }
        } else if let Some((id, _)) = self.waits.take() {
            self.worker.on_left(self.context, id);
        }
    }
}

fn strip_trailers(map: host::Map) {
    remove_from(map, &HeaderMap::read(map), |name| Family::of(name).is_some());
}
