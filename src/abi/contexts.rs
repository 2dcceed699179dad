//! The table of contexts: root contexts, one per configuration of a worker, and streams, which are requests or
//! connections. The first callback for a stream shows which of the two it is.
//!
//! The host may call the module while a callback is inside a host function: closing a connection deletes its context on
//! the same stack. So a callback gets its context as an `Rc`, and the table is not borrowed while it runs. Unknown numbers
//! are ignored.

use crate::by_number::ByNumber;
use std::cell::RefCell;
use std::rc::Rc;

/// `R` is a root context, `S` a stream that is in use.
pub struct Contexts<R, S> {
    all: RefCell<ByNumber<Context<R, S>>>,
}

enum Context<R, S> {
    Root(Rc<R>),
    Stream {
        root: Rc<R>,
        /// `None`: the host has not used it yet.
        opened: Option<Rc<S>>,
    },
}

impl<R, S> Default for Contexts<R, S> {
    fn default() -> Contexts<R, S> {
        Contexts {
            all: RefCell::default(),
        }
    }
}

impl<R, S> Contexts<R, S> {
    /// Adds a context: a stream of the root context `parent`, or a root context if `parent` is 0. A number that exists is
    /// left unchanged, because the host creates a root context again when it restarts it.
    pub fn create(&self, id: u32, parent: u32, new_root: impl FnOnce() -> R) {
        if self.all.borrow().contains_key(&id.into()) {
            return;
        }
        let context = match parent {
            0 => Some(Context::Root(Rc::new(new_root()))),
            parent => self
                .root(parent)
                .map(|root| Context::Stream { root, opened: None }),
        };
        if let Some(context) = context {
            self.all.borrow_mut().insert(id.into(), context);
        }
    }

    /// Removes a context. Its value is dropped when its last running callback ends.
    pub fn delete(&self, id: u32) {
        // Dropping the value may use the table, which must not be borrowed then.
        let _context = self.all.borrow_mut().remove(&id.into());
    }

    /// The root context with this number.
    pub fn root(&self, id: u32) -> Option<Rc<R>> {
        match self.all.borrow().get(&id.into())? {
            Context::Root(root) => Some(root.clone()),
            Context::Stream { .. } => None,
        }
    }

    /// Returns a stream. If the host uses it for the first time, `open` creates its value from the root context.
    pub fn open(&self, id: u32, open: impl FnOnce(&R) -> S) -> Option<Rc<S>> {
        let root = match self.all.borrow().get(&id.into())? {
            Context::Stream {
                opened: Some(stream), ..
            } => return Some(stream.clone()),
            Context::Stream { root, opened: None } => root.clone(),
            Context::Root(_) => return None,
        };
        let stream = Rc::new(open(&root));
        match self.all.borrow_mut().get_mut(&id.into()) {
            Some(Context::Stream { opened, .. }) => Some(opened.get_or_insert(stream).clone()),
            _ => Some(stream),
        }
    }

    /// A stream that is in use.
    pub fn stream(&self, id: u32) -> Option<Rc<S>> {
        match self.all.borrow().get(&id.into())? {
            Context::Stream { opened, .. } => opened.clone(),
            Context::Root(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A configuration, and whether it limits requests.
    type TestRoot = (&'static str, bool);

    #[derive(Debug, PartialEq)]
    enum TestStream {
        Request(&'static str),
        Connection(&'static str),
        Refused,
    }

    fn request((name, limits): &TestRoot) -> TestStream {
        match limits {
            true => TestStream::Request(name),
            false => TestStream::Refused,
        }
    }

    fn connection((name, limits): &TestRoot) -> TestStream {
        match limits {
            true => TestStream::Refused,
            false => TestStream::Connection(name),
        }
    }

    /// 1 is a filter, 2 is the guard; 10 and 11 are streams of the one, 20 and 21 of the other.
    fn contexts() -> Contexts<TestRoot, TestStream> {
        let contexts = Contexts::default();
        contexts.create(1, 0, || ("filter", true));
        contexts.create(2, 0, || ("guard", false));
        for (id, parent) in [(10, 1), (11, 1), (20, 2), (21, 2)] {
            contexts.create(id, parent, || panic!("no root context"));
        }
        contexts
    }

    #[test]
    fn the_first_callback_decides_what_a_stream_is() {
        let contexts = contexts();
        assert_eq!(contexts.stream(10), None, "not used yet");
        let opened = contexts.open(10, request).unwrap();
        assert_eq!(*opened, TestStream::Request("filter"));
        assert!(Rc::ptr_eq(&opened, &contexts.stream(10).unwrap()));
        assert_eq!(
            contexts.open(11, connection).as_deref(),
            Some(&TestStream::Refused)
        );
        let opened = contexts.open(20, connection);
        assert_eq!(opened.as_deref(), Some(&TestStream::Connection("guard")));
        assert_eq!(contexts.open(21, request).as_deref(), Some(&TestStream::Refused));
        let again = contexts.open(10, |_| panic!("it is a request already"));
        assert_eq!(again.as_deref(), Some(&TestStream::Request("filter")));
    }

    #[test]
    fn unknown_numbers_are_ignored() {
        let contexts = contexts();
        for id in [0, 3, 99, u32::MAX] {
            assert_eq!((contexts.root(id), contexts.stream(id)), (None, None), "{id}");
            let opened = contexts.open(id, |_| panic!("no context {id}"));
            assert_eq!(opened, None);
            contexts.delete(id);
        }
        contexts.create(30, 3, || panic!("no root context"));
        contexts.create(31, 10, || panic!("a stream has no streams"));
        for id in [30, 31] {
            assert_eq!(
                contexts.open(id, request),
                None,
                "{id} belongs to no root context"
            );
        }
    }

    #[test]
    fn root_contexts_and_streams_are_distinct() {
        let contexts = contexts();
        assert_eq!((contexts.open(1, request), contexts.stream(1)), (None, None));
        assert_eq!(contexts.root(10), None);
        assert_eq!(contexts.root(2).as_deref(), Some(&("guard", false)));
    }

    #[test]
    fn a_context_that_is_created_again_is_unchanged() {
        let contexts = contexts();
        let (root, stream) = (contexts.root(1).unwrap(), contexts.open(10, request).unwrap());
        contexts.create(1, 0, || ("another", false));
        contexts.create(10, 2, || panic!("no root context"));
        assert!(Rc::ptr_eq(&root, &contexts.root(1).unwrap()));
        assert!(Rc::ptr_eq(&stream, &contexts.stream(10).unwrap()));
    }

    #[test]
    fn streams_outlive_their_root_context() {
        let contexts = contexts();
        contexts.delete(1);
        assert_eq!(contexts.root(1), None);
        assert_eq!(
            contexts.open(10, request).as_deref(),
            Some(&TestStream::Request("filter"))
        );
        contexts.delete(10);
        assert_eq!((contexts.stream(10), contexts.open(10, request)), (None, None));
    }

    /// A stream whose drop is counted and uses the table.
    struct Ending<'a> {
        ended: &'a Cell<u32>,
        contexts: &'a Contexts<(), Ending<'a>>,
    }

    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.ended.set(self.ended.get() + 1);
            assert!(self.contexts.stream(2).is_none());
            self.contexts.create(3, 1, || ());
        }
    }

    #[test]
    fn a_context_deleted_within_its_callback_is_dropped_after_it() {
        // Both refer to each other, so both are leaked.
        let ended: &Cell<u32> = Box::leak(Box::default());
        let contexts: &Contexts<(), Ending> = Box::leak(Box::default());
        contexts.create(1, 0, || ());
        contexts.create(2, 1, || ());
        let callback = contexts.open(2, |()| Ending { ended, contexts }).unwrap();
        // A host function of the callback calls the module back.
        contexts.delete(2);
        assert!(contexts.stream(2).is_none(), "later callbacks do not find it");
        assert_eq!(ended.get(), 0, "the callback still has its context");
        drop(callback);
        assert_eq!(ended.get(), 1);
        contexts.open(3, |()| Ending { ended, contexts });
        contexts.delete(3);
        assert_eq!(ended.get(), 2, "at once, because no callback runs");
    }

    #[test]
    fn a_stream_deleted_while_it_is_opened_is_not_kept() {
        let contexts: Contexts<(), ()> = Contexts::default();
        contexts.create(1, 0, || ());
        contexts.create(2, 1, || ());
        assert!(contexts.open(2, |()| contexts.delete(2)).is_some());
        assert!(contexts.stream(2).is_none());
        assert!(contexts.open(2, |()| ()).is_none());
    }

    #[test]
    fn other_contexts_come_and_go_within_a_callback() {
        let contexts: Contexts<(), u32> = Contexts::default();
        contexts.create(1, 0, || ());
        (2..10).for_each(|id| contexts.create(id, 1, || ()));
        let opened = contexts.open(2, |()| {
            contexts.delete(3);
            contexts.create(10, 1, || ());
            contexts.open(10, |()| 10);
            contexts.open(4, |()| 4);
            2
        });
        assert_eq!(opened.as_deref(), Some(&2));
        let streams: Vec<_> = (2..=10).filter_map(|id| contexts.stream(id)).collect();
        assert_eq!(
            streams.iter().map(|stream| **stream).collect::<Vec<_>>(),
            [2, 4, 10]
        );
    }
}
