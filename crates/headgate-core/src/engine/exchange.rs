//! Traits for what the engine reads and edits of a request and its response. A shell implements them on its host.

use crate::headers::Header;
use crate::identify::{Attributes, Headers};

/// A request that can be edited on its way to the upstream.
pub trait Exchange: Attributes {
    /// A value in the request's filter state; `None` or empty: not set.
    fn filter_state(&self, name: &str) -> Option<Vec<u8>>;
    /// Sets a value in the request's filter state.
    fn set_filter_state(&mut self, name: &str, value: &[u8]);
    /// Sets a request header, and replaces all headers of that name.
    fn set_header(&mut self, header: &Header);
    /// Adds a request header that is known to be absent.
    fn add_header(&mut self, header: &Header);
    /// Removes all request headers of that name. Values that were read before remain valid.
    fn remove_header(&mut self, name: &str);
}

/// The headers of a response, with the filter state of its request.
pub trait Response: Headers {
    /// As for [`Exchange::filter_state`].
    fn filter_state(&self, name: &str) -> Option<Vec<u8>>;
}

/// Changes to the headers of a response. The removals are applied first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Names of headers to remove, in lower case.
    pub remove: Vec<String>,
    /// Headers to add.
    pub add: Vec<Header>,
}
