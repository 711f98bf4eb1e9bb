//! The framing of requests and responses: a length and that many bytes (NODE §1.3).
//!
//! Refuses what is longer than the limit before it reads it, and what goes on after the announced end. Requests may carry
//! a key fragment and are wiped wherever they end, also when they were never sent.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};
use zeroize::Zeroizing;

/// The longest request, in bytes.
pub const REQUEST_LIMIT: usize = kms_proto::codec::MAX_REQUEST_BYTES;
/// The longest response, in bytes.
pub const RESPONSE_LIMIT: usize = kms_proto::codec::MAX_RESPONSE_BYTES;

/// How requests are written: in tests also as no honest program does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Manners {
    /// One frame, and an end.
    #[default]
    Proper,
    /// A frame is announced and never comes.
    #[cfg(feature = "test-util")]
    Stalling,
    /// A frame beyond the limit.
    #[cfg(feature = "test-util")]
    Overlong,
}

/// Moves byte strings of bounded length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawCodec {
    pub(crate) manners: Manners,
}

impl request_response::Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Zeroizing<Vec<u8>>;
    type Response = Vec<u8>;

    async fn read_request<T>(
        &mut self,
        _: &Self::Protocol,
        io: &mut T,
    ) -> io::Result<Zeroizing<Vec<u8>>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_frame(io, REQUEST_LIMIT).await
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut response = read_frame(io, RESPONSE_LIMIT).await?;
        Ok(std::mem::take(&mut *response))
    }

    async fn write_request<T>(
        &mut self,
        _: &Self::Protocol,
        io: &mut T,
        request: Zeroizing<Vec<u8>>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match self.manners {
            Manners::Proper => write_frame(io, &request, REQUEST_LIMIT).await,
            #[cfg(feature = "test-util")]
            Manners::Stalling => {
                io.write_all(&16_000_u32.to_be_bytes()).await?;
                io.write_all(&request).await?;
                io.flush().await?;
                std::future::pending().await
            }
            #[cfg(feature = "test-util")]
            Manners::Overlong => {
                io.write_all(&u32::MAX.to_be_bytes()).await?;
                io.write_all(&vec![0; 8 * REQUEST_LIMIT]).await
            }
        }
    }

    async fn write_response<T>(
        &mut self,
        _: &Self::Protocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &response, RESPONSE_LIMIT).await
    }
}

async fn read_frame<T: AsyncRead + Unpin>(
    io: &mut T,
    limit: usize,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the frame is too long",
        ));
    }
    let mut frame = Zeroizing::new(vec![0; length]);
    io.read_exact(&mut frame).await?;
    if io.read(&mut [0]).await? != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the frame goes on after its end",
        ));
    }
    Ok(frame)
}

async fn write_frame<T: AsyncWrite + Unpin>(
    io: &mut T,
    frame: &[u8],
    limit: usize,
) -> io::Result<()> {
    let length = u32::try_from(frame.len())
        .ok()
        .filter(|_| frame.len() <= limit)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the frame is too long"))?;
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(frame).await
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        block_on(read_frame(&mut Cursor::new(bytes), 8)).map(|frame| frame.to_vec())
    }

    #[test]
    fn a_frame_comes_back_as_it_was_written() {
        let mut wire = Cursor::new(Vec::new());
        block_on(write_frame(&mut wire, b"12345678", 8)).unwrap();
        assert_eq!(read(&wire.into_inner()).unwrap(), b"12345678");
    }

    #[test]
    fn a_frame_beyond_the_limit_is_neither_read_nor_written() {
        assert!(block_on(write_frame(&mut Cursor::new(Vec::new()), b"123456789", 8)).is_err());
        assert_eq!(
            read(b"\0\0\0\x09123456789").unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            read(b"\xff\xff\xff\xff").unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_torn_frame_and_one_with_a_tail_are_refused() {
        assert_eq!(
            read(b"\0\0\0\x04123").unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            read(b"\0\0").unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            read(b"\0\0\0\x031234").unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
