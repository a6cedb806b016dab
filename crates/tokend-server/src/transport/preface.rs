//! Reads the 24 bytes with which an HTTP/2 client begins that uses prior knowledge (RFC 9113, section 3.4).
//!
//! hyper waits for them without a deadline, so this module reads and compares them, and gives hyper a stream that
//! begins with them again. They are always the same, so that replaying them takes only a position.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the preface and not a byte more. Fails at the first byte that differs.
pub(super) async fn read<I: AsyncRead + Unpin>(io: &mut I) -> io::Result<()> {
    let mut bytes = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < PREFACE.len() {
        let mut rest = ReadBuf::new(&mut bytes[filled..]);
        poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut rest)).await?;
        let got = rest.filled().len();
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if rest.filled() != &PREFACE[filled..filled + got] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not an HTTP/2 preface"));
        }
        filled += got;
    }
    Ok(())
}

/// A stream that replays its preface and records activity.
pub(super) struct Opened<I> {
    io: I,
    replayed: usize,
    activity: Activity,
}

impl<I> Opened<I> {
    pub(super) fn new(io: I, activity: Activity) -> Self {
        Self {
            io,
            replayed: 0,
            activity,
        }
    }

    /// Records that bytes were written, and returns `outcome`.
    fn written(&self, outcome: io::Result<usize>) -> Poll<io::Result<usize>> {
        if matches!(outcome, Ok(1..)) {
            self.activity.moved();
        }
        Poll::Ready(outcome)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Opened<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.replayed < PREFACE.len() {
            let rest = &PREFACE[self.replayed..];
            let part = &rest[..rest.len().min(buffer.remaining())];
            buffer.put_slice(part);
            self.replayed += part.len();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.moved();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Opened<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices));
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn it_may_come_in_pieces_and_reads_again_with_what_follows() {
        // A pipe of 5 bytes hands the 24 over in pieces.
        let (mut client, mut server) = duplex(5);
        let sent = [&PREFACE[..], b"then frames"].concat();
        let send = async {
            client.write_all(&sent).await.expect("send");
            drop(client);
        };
        let receive = async {
            read(&mut server).await.expect("a preface");
            let mut read = Vec::new();
            let mut opened = Opened::new(server, Activity::default());
            opened.read_to_end(&mut read).await.expect("receive");
            read
        };
        let ((), received) = tokio::join!(send, receive);
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn the_first_wrong_byte_ends_it() {
        for at in 0..PREFACE.len() {
            let (mut client, mut server) = duplex(64);
            let mut wrong = PREFACE;
            wrong[at] ^= 1;
            client.write_all(&wrong[..=at]).await.expect("send");
            let outcome = timeout(Duration::from_secs(5), read(&mut server)).await;
            let error = outcome.expect("at once").expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}");
        }
    }

    #[tokio::test]
    async fn an_early_end_is_an_error() {
        let (mut client, mut server) = duplex(64);
        client.write_all(&PREFACE[..23]).await.expect("send");
        drop(client);
        let error = read(&mut server).await.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_in_either_direction_are_noted() {
        const PERIOD: Duration = Duration::from_secs(1);
        let activity = Activity::default();
        let (mut client, server) = duplex(64);
        let mut server = Opened::new(server, activity.clone());
        server
            .read_exact(&mut [0; PREFACE.len()])
            .await
            .expect("the preface again");

        let writes = async {
            for _ in 0..20 {
                sleep(PERIOD / 2).await;
                server.write_all(b"x").await.expect("write");
            }
        };
        tokio::select! {
            () = writes => {}
            () = activity.quiet(PERIOD) => panic!("quiet while it writes"),
        }

        client.write_all(&[0; 20]).await.expect("send");
        let reads = async {
            for _ in 0..20 {
                sleep(PERIOD / 2).await;
                server.read_exact(&mut [0]).await.expect("read");
            }
        };
        tokio::select! {
            () = reads => {}
            () = activity.quiet(PERIOD) => panic!("quiet while it reads"),
        }
    }
}
