//! The pair of sockets between two processes: one message is one packet, with the descriptors that belong to it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::{Domain, Socket, Type};

use super::Message;

/// Descriptors in one message; the kernel takes 253.
pub(super) const MOST: usize = 64;

/// A message is at most so long.
const LONGEST: usize = 64 << 10;

/// Both ends.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
    Ok((ours.into(), theirs.into()))
}

/// Sends a message whole, or not at all.
pub(super) fn send(end: impl AsFd, message: &Message, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other("too many sockets for one message"));
    }
    sendmsg(end, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next message; `None` where the other side has gone.
pub(super) fn receive(end: impl AsFd) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(end, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        // The kernel cuts what there are no descriptors for.
        return Err(io::Error::other("a message is cut: is LimitNOFILE large enough?"));
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let text = bytes.get(..received.bytes).unwrap_or_default();
    Ok(Some((serde_json::from_slice(text)?, sockets)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn messages_come_whole_with_their_descriptors_and_then_the_end() {
        let (ours, theirs) = pair().unwrap();
        let sockets: Vec<TcpListener> =
            (0..MOST).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        send(&ours, &Message::Accept, &borrowed).unwrap();
        send(&ours, &Message::Failed { why: "x".repeat(10_000) }, &[]).unwrap();
        let (message, received) = receive(&theirs).unwrap().expect("a message");
        assert_eq!(message, Message::Accept);
        let address = |socket: OwnedFd| TcpListener::from(socket).local_addr().unwrap();
        let received: Vec<_> = received.into_iter().map(address).collect();
        let sent: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(received, sent);
        assert!(matches!(receive(&theirs).unwrap(), Some((Message::Failed { .. }, none)) if none.is_empty()));
        drop(ours);
        assert!(receive(&theirs).unwrap().is_none());
        assert!(send(&theirs, &Message::Yours, &[]).is_err());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (ours, theirs) = pair().unwrap();
        for text in [&b"{"[..], b"{}", b"{\"is\":\"nothing\"}", b"\xff"] {
            rustix::net::send(&ours, text, SendFlags::empty()).unwrap();
        }
        (0..4).for_each(|_| assert!(receive(&theirs).is_err()));
    }
}
