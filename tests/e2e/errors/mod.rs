//! Bad input: every refusal that a client can provoke, with its documented code, in words that name the field and the limit;
//! and after each of them the connection's other rooms go on.

mod frames;
mod signing_in;
mod table;

use chamberlain_core::room::{Code, Reason};

/// Reasons that are provoked by other tests than the table, and by which.
const ELSEWHERE: &[(Reason, &str)] = &[
    (Reason::InvalidToken, "signing_in"),
    (Reason::TokenExpired, "signing_in"),
    (Reason::ForeignOrigin, "signing_in"),
    (Reason::ForeignHost, "signing_in"),
    (Reason::NoSuchPath, "signing_in"),
    (Reason::InvalidRange, "signing_in"),
    (Reason::RateLimited, "frames"),
    (Reason::Busy, "frames"),
    (Reason::TooManySockets, "rooms::accounts"),
    (Reason::Draining, "drain"),
    (Reason::NothingLost, "cli"),
];

/// Reasons that nobody can provoke from outside, and why.
const UNREACHABLE: &[(Reason, &str)] = &[
    (Reason::Deadline, "the embedded store answers or the process ends: there is nothing to wait for ten seconds for"),
    (Reason::Quarantined, "needs a log that contradicts itself: tests of core and net make one"),
    (Reason::StoreUnavailable, "needs a disk that fails: tests of net make one"),
    (Reason::Overtaken, "needs a member that joins between two steps of a command: tests of core decide so"),
    (Reason::Defect, "needs a defect"),
    (Reason::OlderNode, "needs a node of an older version: tests of net make one"),
    (Reason::NewerLog, "needs a node of a newer version: tests of net make one"),
];

/// RULES.md, "Commands": the classes, by their reasons. Written out, so that a change of class is noticed.
fn documented(reason: Reason) -> Code {
    use Reason as R;
    match reason {
        R::Malformed | R::TooLarge | R::TooMany | R::InvalidName | R::Empty | R::NobodyNamed | R::NotAChannel => {
            Code::BadRequest
        }
        R::BotNotAllowed | R::BadEnvelope | R::BeyondHead | R::InvalidRange => Code::BadRequest,
        R::InvalidToken | R::TokenExpired => Code::Unauthenticated,
        R::AccountDisabled | R::NotOwner | R::NotSender | R::NotAdmin | R::RestrictedToOwners => Code::Forbidden,
        R::ForeignOrigin | R::ForeignHost => Code::Forbidden,
        R::NotAMember | R::TargetNotAMember | R::UnknownAccount | R::NoSuchMessage | R::NoSuchKey | R::NoSuchPath => {
            Code::NotFound
        }
        R::Archived | R::RoomFull | R::LastOwner | R::AlreadyThatRole | R::StaleKey | R::StaleEdit => Code::Conflict,
        R::OlderNode | R::NothingLost => Code::Conflict,
        R::RequestReused | R::MessageReused | R::AlreadyOpen => Code::Conflict,
        R::RateLimited | R::Busy | R::TooManySockets => Code::TooManyRequests,
        R::Deadline | R::Draining | R::Quarantined | R::StoreUnavailable | R::Overtaken => Code::Unavailable,
        R::NewerLog => Code::Unavailable,
        R::Defect => Code::Internal,
    }
}
