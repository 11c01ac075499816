//! The one table of routes: what is served, by which handler, and what the OpenAPI document says of it.

use chamberlain_core::room::{Reason, Refused};
use futures_util::future::BoxFuture;
use hyper::{Method, Response};

use super::answer::Body;
use super::call::{self, Call};
use super::{admin, operation, rooms, socket};

/// Answers the requests of one route.
pub(super) type Handler = fn(Call) -> BoxFuture<'static, Result<Response<Body>, Refused>>;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody, without a token.
    Anybody,
    /// Whoever has a token.
    Account,
    /// Administrators.
    Admin,
}

/// How much of a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLimit {
    /// None of it.
    None,
    /// As much as a frame of a socket may have.
    Frame,
    /// As much as it takes to add many accounts.
    Accounts,
}

/// One method of one path.
pub(super) struct Route {
    pub(super) method: Method,
    /// With parameters in braces.
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) handler: Handler,
    pub(super) summary: &'static str,
    /// Parameters of the query: name, schema, meaning.
    pub(super) query: &'static [(&'static str, &'static str, &'static str)],
    /// Schema of the body.
    pub(super) body: Option<&'static str>,
    /// Status and schema (or media type) of what is answered when nothing is refused.
    pub(super) answers: &'static [(u16, &'static str)],
    /// Reasons of refusals, besides those that every route of its kind has.
    pub(super) refused: &'static [Reason],
}

impl Route {
    /// Whether it changes something, so that its request id matters.
    pub(super) fn changes(&self) -> bool {
        self.method != Method::GET
    }

    pub(super) fn query_names(&self) -> Vec<&'static str> {
        self.query.iter().map(|(name, ..)| *name).collect()
    }

    pub(super) fn body_limit(&self) -> BodyLimit {
        match self.body {
            None => BodyLimit::None,
            Some("PutAccounts") => BodyLimit::Accounts,
            Some(_) => BodyLimit::Frame,
        }
    }

    const fn new(method: Method, path: &'static str, access: Access, handler: Handler, summary: &'static str) -> Self {
        Self { method, path, access, handler, summary, query: &[], body: None, answers: &[], refused: &[] }
    }

    const fn query(mut self, query: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    const fn body(mut self, schema: &'static str) -> Self {
        self.body = Some(schema);
        self
    }

    const fn answers(mut self, answers: &'static [(u16, &'static str)]) -> Self {
        self.answers = answers;
        self
    }

    const fn refused(mut self, refused: &'static [Reason]) -> Self {
        self.refused = refused;
        self
    }

    /// The values of the path's parameters, if this path is one of the route's.
    fn matches(&self, path: &[&str]) -> Option<Vec<(&'static str, String)>> {
        let mut values = Vec::new();
        let mut given = path.iter();
        for expected in self.path.split('/').skip(1) {
            let segment = given.next()?;
            match expected.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if !segment.is_empty() => values.push((name, call::decode(segment).ok()?)),
                None if expected == *segment => {}
                _ => return None,
            }
        }
        given.next().is_none().then_some(values)
    }
}

/// A route, and the values of the path's parameters.
pub(super) struct Found {
    pub(super) route: &'static Route,
    pub(super) path: Vec<(&'static str, String)>,
}

/// The route of a request; else the methods that the path takes, none when there is no such path.
pub(super) fn find(method: &Method, path: &str) -> Result<Found, Vec<Method>> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(path) = route.matches(&segments) else { continue };
        if route.method == *method {
            return Ok(Found { route, path });
        }
        allowed.push(route.method.clone());
    }
    Err(allowed)
}

use Access::{Account, Admin, Anybody};
use Reason::{
    AlreadyThatRole, Archived, BadEnvelope, BeyondHead, BotNotAllowed, Empty, InvalidName, InvalidRange, LastOwner,
    MessageReused, NoSuchKey, NoSuchMessage, NoSuchPath, NobodyNamed, NotAChannel, NotAMember, NotOwner, NotSender,
    NothingLost, OlderNode, Overtaken, RestrictedToOwners, RoomFull, StaleEdit, StaleKey, TargetNotAMember, TooLarge,
    TooMany, UnknownAccount,
};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// Every route there is.
pub(super) static ROUTES: &[Route] = &[
    Route::new(GET, "/v1/rooms", Account, |call| Box::pin(rooms::mine(call)), "My rooms, the last active first")
        .answers(&[(200, "RoomsAnswer")]),
    Route::new(
        POST,
        "/v1/rooms",
        Account,
        |call| Box::pin(rooms::create(call)),
        "Begin a channel, or a direct message room",
    )
    .body("CreateRoom")
    .answers(&[(201, "Outcome"), (200, "Outcome")])
    .refused(&[InvalidName, BotNotAllowed, UnknownAccount, NotAMember, RoomFull, TooMany]),
    Route::new(GET, "/v1/rooms/{room}", Account, |call| Box::pin(rooms::one(call)), "One of my rooms")
        .answers(&[(200, "RoomView")])
        .refused(&[NotAMember]),
    Route::new(PATCH, "/v1/rooms/{room}", Account, |call| Box::pin(rooms::rename(call)), "Give a channel another name")
        .body("Rename")
        .answers(&[(200, "Outcome")])
        .refused(&[NotAMember, NotAChannel, Archived, NotOwner, InvalidName]),
    Route::new(
        GET,
        "/v1/rooms/{room}/members",
        Account,
        |call| Box::pin(rooms::members(call)),
        "A page of a room's members",
    )
    .query(MEMBERS_PAGE)
    .answers(&[(200, "MembersAnswer")])
    .refused(&[NotAMember, TooMany]),
    Route::new(
        POST,
        "/v1/rooms/{room}/members",
        Account,
        |call| Box::pin(rooms::add(call)),
        "Add members to a channel",
    )
    .body("AddMembers")
    .answers(&[(200, "Outcome")])
    .refused(&[NotAMember, NotAChannel, Archived, NobodyNamed, BotNotAllowed, UnknownAccount, RoomFull, TooMany]),
    Route::new(
        DELETE,
        "/v1/rooms/{room}/members/{account}",
        Account,
        |call| Box::pin(rooms::remove(call)),
        "Remove a member from a channel, or leave it",
    )
    .answers(&[(200, "Outcome")])
    .refused(&[NotAMember, NotAChannel, Archived, NotOwner, TargetNotAMember, LastOwner, UnknownAccount]),
    Route::new(
        PATCH,
        "/v1/rooms/{room}/members/{account}",
        Account,
        |call| Box::pin(rooms::set_role(call)),
        "Make a member an owner, or an owner a member",
    )
    .body("SetRole")
    .answers(&[(200, "Outcome")])
    .refused(&[
        NotAMember,
        NotAChannel,
        Archived,
        NotOwner,
        TargetNotAMember,
        AlreadyThatRole,
        LastOwner,
        BotNotAllowed,
        UnknownAccount,
    ]),
    Route::new(
        GET,
        "/v1/rooms/{room}/messages",
        Account,
        |call| Box::pin(rooms::history(call)),
        "A page of a room's past",
    )
    .query(&[
        ("before", "Revision", "The items just before this revision"),
        ("after", "Revision", "The items just after this revision"),
        ("around", "Revision", "The items around this revision"),
        ("limit", "Count", "How many revisions at most"),
    ])
    .answers(&[(200, "HistoryAnswer")])
    .refused(&[NotAMember, TooMany, InvalidRange]),
    Route::new(POST, "/v1/rooms/{room}/messages", Account, |call| Box::pin(rooms::submit(call)), "Say something")
        .body("Submit")
        .answers(&[(201, "Outcome")])
        .refused(&[NotAMember, Archived, Empty, TooLarge, RestrictedToOwners, StaleKey, BadEnvelope, MessageReused]),
    Route::new(
        PATCH,
        "/v1/rooms/{room}/messages/{revision}",
        Account,
        |call| Box::pin(rooms::edit(call)),
        "Say something else instead",
    )
    .body("EditMessage")
    .answers(&[(200, "Outcome")])
    .refused(&[
        NotAMember,
        Archived,
        NoSuchMessage,
        NotSender,
        Empty,
        TooLarge,
        TooMany,
        StaleEdit,
        StaleKey,
        BadEnvelope,
        RestrictedToOwners,
    ]),
    Route::new(
        DELETE,
        "/v1/rooms/{room}/messages/{revision}",
        Account,
        |call| Box::pin(rooms::delete(call)),
        "Take a message back",
    )
    .answers(&[(200, "Outcome")])
    .refused(&[NotAMember, Archived, NoSuchMessage, NotSender]),
    Route::new(GET, "/v1/rooms/{room}/key", Account, |call| Box::pin(rooms::key(call)), "A key of a room")
        .query(&[("version", "KeyVersion", "The version; the current one when absent")])
        .answers(&[(200, "KeyAnswer")])
        .refused(&[NotAMember, NoSuchKey]),
    Route::new(
        POST,
        "/v1/rooms/{room}/rotate",
        Account,
        |call| Box::pin(rooms::rotate(call)),
        "Move to a new key version",
    )
    .answers(&[(200, "Outcome")])
    .refused(&[NotAMember, Archived, NotOwner]),
    Route::new(POST, "/v1/rooms/{room}/archive", Account, |call| Box::pin(rooms::archive(call)), "End a channel")
        .answers(&[(200, "Outcome")])
        .refused(&[NotAMember, NotAChannel, Archived, NotOwner]),
    Route::new(
        POST,
        "/v1/rooms/{room}/read",
        Account,
        |call| Box::pin(rooms::mark_read(call)),
        "Everything up to this revision was read; never moves back",
    )
    .body("MarkRead")
    .answers(&[(200, "Outcome")])
    .refused(&[NotAMember, BeyondHead]),
    Route::new(GET, "/v1/accounts/me", Account, |call| Box::pin(rooms::me(call)), "Who I am").answers(&[(200, "Me")]),
    Route::new(
        GET,
        "/v1/accounts/me/rooms",
        Account,
        |call| Box::pin(rooms::mine(call)),
        "My rooms, the last active first",
    )
    .answers(&[(200, "RoomsAnswer")]),
    Route::new(GET, "/v1/admin/accounts", Admin, |call| Box::pin(admin::accounts(call)), "A page of all accounts")
        .query(MEMBERS_PAGE)
        .answers(&[(200, "AccountPage")])
        .refused(&[TooMany]),
    Route::new(
        PUT,
        "/v1/admin/accounts",
        Admin,
        |call| Box::pin(admin::put_accounts(call)),
        "Add or replace accounts, all or none",
    )
    .body("PutAccounts")
    .answers(&[(200, "AccountsPut")])
    .refused(&[TooMany]),
    Route::new(GET, "/v1/admin/accounts/{account}", Admin, |call| Box::pin(admin::account(call)), "One account")
        .answers(&[(200, "Account")])
        .refused(&[UnknownAccount]),
    Route::new(
        POST,
        "/v1/admin/accounts/{account}/disable",
        Admin,
        |call| Box::pin(admin::disable(call)),
        "Shut an account out: of its connections, and of every room it is in",
    )
    .answers(&[(200, "Outcome")])
    .refused(&[UnknownAccount, Overtaken]),
    Route::new(
        POST,
        "/v1/admin/accounts/{account}/enable",
        Admin,
        |call| Box::pin(admin::enable(call)),
        "Let an account in again; it is in no room until it is added",
    )
    .answers(&[(200, "Account")])
    .refused(&[UnknownAccount]),
    Route::new(GET, "/v1/admin/rooms", Admin, |call| Box::pin(admin::rooms(call)), "A page of all rooms, by id")
        .query(&[("after", "RoomId", "The last room of the page before"), ("limit", "Count", "How many at most")])
        .answers(&[(200, "AdminRoomPage")])
        .refused(&[TooMany]),
    Route::new(
        GET,
        "/v1/admin/rooms/{room}",
        Admin,
        |call| Box::pin(admin::room(call)),
        "One room, without what is said in it",
    )
    .answers(&[(200, "AdminRoom")])
    .refused(&[NotAMember]),
    Route::new(
        GET,
        "/v1/admin/rooms/{room}/members",
        Admin,
        |call| Box::pin(admin::members(call)),
        "A page of any room's members",
    )
    .query(MEMBERS_PAGE)
    .answers(&[(200, "MembersAnswer")])
    .refused(&[NotAMember, TooMany]),
    Route::new(
        GET,
        "/v1/admin/rooms/{room}/log",
        Admin,
        |call| Box::pin(admin::log(call)),
        "A page of a room's log, without bodies",
    )
    .query(&[
        ("after", "Revision", "The last revision of the page before"),
        ("limit", "Count", "How many revisions at most"),
    ])
    .answers(&[(200, "LogPage")])
    .refused(&[NotAMember, TooMany]),
    Route::new(POST, "/v1/admin/rooms/{room}/archive", Admin, |call| Box::pin(rooms::archive(call)), "End any channel")
        .answers(&[(200, "Outcome")])
        .refused(&[NotAMember, NotAChannel, Archived]),
    Route::new(
        POST,
        "/v1/admin/rooms/{room}/continue",
        Admin,
        |call| Box::pin(admin::continue_room(call)),
        "What a room lost; where the head of its log is named as it was told, the room goes on without that",
    )
    .body("ContinueRoom")
    .answers(&[(200, "Loss")])
    .refused(&[NotAMember, Overtaken, OlderNode, NothingLost]),
    Route::new(
        POST,
        "/v1/admin/backup",
        Admin,
        |call| Box::pin(admin::backup(call)),
        "A consistent copy of the stores; they go on meanwhile. A body cut short is no copy",
    )
    .answers(&[(200, "application/octet-stream")])
    .refused(&[NoSuchPath]),
    Route::new(
        GET,
        "/v1/socket",
        Anybody,
        |call| Box::pin(socket::upgrade(call)),
        "The WebSocket endpoint: frames of the subprotocol asked for; the token is in the first one",
    )
    .answers(&[(101, "")])
    .refused(&[Reason::Draining]),
    Route::new(
        GET,
        "/v1/config",
        Anybody,
        |call| Box::pin(operation::config(call)),
        "What a page must know before it signs in",
    )
    .answers(&[(200, "Config")]),
    Route::new(GET, "/v1/openapi.json", Anybody, |call| Box::pin(operation::document(call)), "This document")
        .answers(&[(200, "application/json")]),
    Route::new(GET, "/healthz", Anybody, |call| Box::pin(operation::healthy(call)), "The process is up")
        .answers(&[(200, "text/plain")]),
    Route::new(
        GET,
        "/readyz",
        Anybody,
        |call| Box::pin(operation::ready(call)),
        "The stores answer, and the server is not being stopped",
    )
    .answers(&[(200, "text/plain")])
    .refused(&[Reason::Draining, Reason::StoreUnavailable]),
    Route::new(
        GET,
        "/metrics",
        Anybody,
        |call| Box::pin(operation::metrics(call)),
        "Figures as OpenMetrics; from this machine, with an administrator's token, or for anybody if so configured",
    )
    .answers(&[(200, "application/openmetrics-text")])
    .refused(&[Reason::InvalidToken, Reason::TokenExpired, Reason::AccountDisabled, Reason::NotAdmin]),
];

const MEMBERS_PAGE: &[(&str, &str, &str)] =
    &[("after", "AccountId", "The last account of the page before"), ("limit", "Count", "How many at most")];

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(method: &Method, path: &str) -> Result<(&'static str, Vec<String>), Vec<Method>> {
        find(method, path).map(|found| (found.route.path, found.path.into_iter().map(|(_, value)| value).collect()))
    }

    #[test]
    fn paths_are_matched_whole_and_decoded() {
        assert_eq!(path_of(&GET, "/v1/rooms"), Ok(("/v1/rooms", vec![])));
        let member = path_of(&DELETE, "/v1/rooms/abc/members/ada%40corp").expect("a route");
        assert_eq!(member, ("/v1/rooms/{room}/members/{account}", vec!["abc".to_owned(), "ada@corp".to_owned()]));
        for nowhere in ["/", "/v1", "/v1/rooms/", "/v1/rooms/abc/", "/v1/rooms//members", "//v1/rooms", "/V1/rooms"] {
            assert_eq!(path_of(&GET, nowhere), Err(vec![]), "{nowhere}");
        }
    }

    #[test]
    fn a_known_path_tells_its_methods() {
        assert_eq!(path_of(&DELETE, "/v1/rooms"), Err(vec![GET, POST]));
        assert_eq!(path_of(&Method::OPTIONS, "/healthz"), Err(vec![GET]));
    }
}
