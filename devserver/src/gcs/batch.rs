//! Several requests in one.
use crate::call::Call;
use crate::gcs::error::GcsError;
use crate::reply::Reply;
pub(crate) async fn batch(_call: &mut Call) -> Result<Reply, GcsError> {
    Err(GcsError::not_found())
}
