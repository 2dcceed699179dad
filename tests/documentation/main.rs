//! The documentation against the code and itself: the reference has every field, policies are valid, links lead somewhere.

mod links;
mod page;
mod reference;
