//! What this member's log says of changes of the cluster itself: what was done or refused, and who
//! asked. Nothing secret is in it.

use store::Principal;

use crate::api_error::ApiError;

/// Who asked, as the log names them. Without authentication nobody has a name.
pub(crate) fn name(who: Option<&Principal>) -> &str {
    match who {
        Some(Principal::User { name, .. }) => name,
        Some(Principal::Server) | None => "nobody",
    }
}

/// Writes down what came of it, and hands it on.
pub(crate) fn note<T>(
    who: Option<&Principal>,
    what: &str,
    result: Result<T, ApiError>,
) -> Result<T, ApiError> {
    let by = name(who);
    match &result {
        Ok(_) => tracing::info!(by, "{what}"),
        Err(error) => tracing::warn!(by, reason = error.code_and_text().1, "refused: {what}"),
    }
    result
}
