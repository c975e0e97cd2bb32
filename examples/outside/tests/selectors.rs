//! The selectors of karez-reactor, each by itself.

use karez_reactor::{
    AnySelector, EpollEdge, EpollLevel, Interest, LinuxAio, Model, Nonblocking, Poll, Ready,
    Select, Selector, Signal, Token,
};
use std::io::{Result, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

/// Has a selector report a readable socket, as every one of them does.
fn reports(mut selector: impl Selector) -> Result<()> {
    let (near, mut far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    let token = Token(7);
    selector.register(near.as_fd(), token, Interest::WRITE)?;
    selector.modify(near.as_fd(), token, Interest::BOTH)?;
    far.write_all(b"water")?;
    let mut ready = Vec::new();
    while !ready.iter().any(|ready: &Ready| ready.token == token && ready.readable) {
        ready.clear();
        selector.wait(MINUTE, &mut ready)?;
    }
    let &Ready { writable, read_closed, .. } = &ready[0];
    assert!(writable && !read_closed || !writable);
    Ok(selector.deregister(near.as_fd())?)
}

#[test]
fn each_selector_reports() -> Result<()> {
    reports(EpollEdge::new()?)?;
    reports(EpollLevel::new()?)?;
    reports(Poll::new()?)?;
    reports(Select::new()?)?;
    reports(Nonblocking::yielding())
}

#[test]
fn interests_are_sets() {
    let Interest { readable, writable, hang_up } = Interest::READ;
    assert_eq!((readable, writable, hang_up), (true, false, false));
    assert!(
        Interest::HANG_UP.hang_up && Interest::BOTH.writable && Interest::NONE != Interest::WRITE
    );
}

#[test]
fn any_selector_is_chosen_at_run_time() -> Result<()> {
    for model in Model::ALL.iter().copied().filter(|model| model.is_readiness()) {
        if let Err(error) = model.probe() {
            println!("skipped: {model}: {error}");
            continue;
        }
        let mut selector = AnySelector::new(model)?;
        let (edge, closes, watches) = match &selector {
            AnySelector::EpollEdge(_) => of::<EpollEdge>(),
            AnySelector::EpollLevel(_) => of::<EpollLevel>(),
            AnySelector::LinuxAio(_) => of::<LinuxAio>(),
            AnySelector::Nonblocking(_) => of::<Nonblocking>(),
            AnySelector::Poll(_) => of::<Poll>(),
            AnySelector::Select(_) => of::<Select>(),
            AnySelector::Signal(_) => of::<Signal>(),
            other => panic!("{}", other.model()),
        };
        assert_eq!(selector.model(), model);
        assert_eq!((selector.is_edge(), selector.close_deregisters()), (edge, closes), "{model}");
        assert_eq!(selector.watches_eventfd(), watches, "{model}");
        let ((near, far), mut ready) = (UnixStream::pair()?, Vec::new());
        near.set_nonblocking(true)?;
        selector.register(near.as_fd(), Token(1), Interest::READ)?;
        selector.modify(near.as_fd(), Token(1), Interest::READ)?;
        drop(far);
        while ready.is_empty() {
            selector.wait(MINUTE, &mut ready)?;
        }
        assert_eq!(ready[0].token, Token(1));
        selector.deregister(near.as_fd())?;
    }
    Ok(())
}

fn of<S: Selector>() -> (bool, bool, bool) {
    (S::EDGE, S::CLOSE_DEREGISTERS, S::WATCHES_EVENTFD)
}
