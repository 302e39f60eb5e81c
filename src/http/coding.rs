//! Content codings of responses (RFC 9110 section 8.4): the accepted ones, and their decoding as a stream.

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use futures_util::{TryStream, TryStreamExt};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyDataStream;
use hyper::body::Body as _;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// The `Accept-Encoding` of every request.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, deflate, br");

/// The most decoded bytes in one chunk, and so the most by which a body can exceed a limit before it is noticed.
const CHUNK: usize = 16 << 10;

/// The body could not be decoded.
#[derive(Debug, thiserror::Error)]
#[error("the compressed data is damaged")]
pub(super) struct Damaged(#[source] io::Error);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

impl Coding {
    /// The single coding that the response headers name. Names are case-insensitive (RFC 9110 section 8.4.1); `x-gzip`
    /// is gzip (section 8.4.1.3).
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let name = value.to_str().ok()?.trim().to_ascii_lowercase();
        match name.as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            _ => None,
        }
    }
}

/// `response` with its body decoded and the coding headers removed. A response without a body, or with a coding that
/// was not requested, keeps its body.
pub(super) fn decoded(response: reqwest::Response) -> reqwest::Response {
    let Some(coding) = Coding::of(response.headers()) else { return response };
    let (mut parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    if body.is_end_stream() {
        return http::Response::from_parts(parts, body).into();
    }
    let encoded = StreamReader::new(BodyDataStream::new(body).map_err(io::Error::other));
    let body = match coding {
        Coding::Gzip => {
            let mut decoder = GzipDecoder::new(encoded);
            // A server that compresses each event separately sends several members (RFC 1952 section 2.2).
            decoder.multiple_members(true);
            reqwest::Body::wrap_stream(chunks(decoder))
        }
        Coding::Deflate => reqwest::Body::wrap_stream(chunks(ZlibDecoder::new(encoded))),
        Coding::Brotli => reqwest::Body::wrap_stream(chunks(BrotliDecoder::new(encoded))),
    };
    http::Response::from_parts(parts, body).into()
}

/// The decoded stream. Connection errors stay connection errors; any other error is [`Damaged`].
fn chunks<D: AsyncRead>(
    decoder: D,
) -> impl TryStream<Ok = bytes::Bytes, Error = Box<dyn std::error::Error + Send + Sync>> {
    ReaderStream::with_capacity(decoder, CHUNK).map_err(|error| match error.downcast::<reqwest::Error>() {
        Ok(error) => error.into(),
        Err(error) => Damaged(error).into(),
    })
}
