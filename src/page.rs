//! The page that the binary serves: the web crate's files, as the server takes them.

use chamberlain_net::server::Asset;

/// The file of the page at this path.
pub(crate) fn asset(path: &str) -> Option<Asset> {
    let chamberlain_web::Asset { content_type, bytes, etag, .. } = *chamberlain_web::asset(path)?;
    Some(Asset { content_type, bytes, etag })
}
