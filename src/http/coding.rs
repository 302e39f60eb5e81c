//! Content codings of answers (RFC 9110 section 8.4): what is accepted, and how it is decoded as it comes.

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use futures_util::{TryStream, TryStreamExt};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyDataStream;
use hyper::body::Body as _;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// What every request says that it accepts.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, deflate, br");

/// The most decoded bytes that come at once: what limits are passed by.
const CHUNK: usize = 16 << 10;

/// Why a body is not what its coding says.
#[derive(Debug, thiserror::Error)]
#[error("the compressed data are damaged")]
pub(super) struct Damaged(#[source] io::Error);

/// A coding that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

impl Coding {
    /// The one coding of an answer with these headers, by its name in any case (RFC 9110 section 8.4.1); `x-gzip` is
    /// gzip (section 8.4.1.3).
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

/// `response` with its body decoded, and without a word of its coding; as it is, where there is no body or a coding that
/// was not asked for.
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
            // One after the other, as a server that compresses each event by itself sends them (RFC 1952 section 2.2).
            decoder.multiple_members(true);
            reqwest::Body::wrap_stream(chunks(decoder))
        }
        Coding::Deflate => reqwest::Body::wrap_stream(chunks(ZlibDecoder::new(encoded))),
        Coding::Brotli => reqwest::Body::wrap_stream(chunks(BrotliDecoder::new(encoded))),
    };
    http::Response::from_parts(parts, body).into()
}

/// What `decoder` reads, as it comes. An error of the connection stays one; any other is the decoder's.
fn chunks<D: AsyncRead>(
    decoder: D,
) -> impl TryStream<Ok = bytes::Bytes, Error = Box<dyn std::error::Error + Send + Sync>> {
    ReaderStream::with_capacity(decoder, CHUNK).map_err(|error| match error.downcast::<reqwest::Error>() {
        Ok(error) => error.into(),
        Err(error) => Damaged(error).into(),
    })
}
