//! A request's way to its target: listener, host, route, what the route does first, turn; or the answer it gets here.

use std::sync::Arc;

use bytes::Bytes;
use pingora_core::Result;
use pingora_proxy::Session;
use trysail_routing::decide::{Decision, decide};
use trysail_routing::snapshot::{
    Action, ClusterId, HeaderOps, Listener, Match, Redirect, Request, Route, SplitId, Transform,
};

use super::ctx::Ctx;
use super::reply::{Answer, Why};
use super::{Active, Connection, fault, view};
use crate::settings::OtherServer;

/// Whose turn it was, and what is changed on the way there.
pub(super) struct Turn {
    pub(super) target: (SplitId, usize),
    pub(super) cluster: ClusterId,
    pub(super) transform: Option<Arc<Transform>>,
    pub(super) path: Option<String>,
}

/// Finds a request's way. An error of the outer kind means that the client has gone.
pub(super) async fn of(
    session: &mut Session,
    ctx: &mut Ctx,
    other_server: OtherServer,
) -> Result<Result<Turn, Answer>> {
    let scheme = ctx.scheme();
    let request = view::request(session, scheme);
    let (listener, route, block) =
        match find(&ctx.active, ctx.connection.as_deref(), request, scheme, other_server) {
            Ok(found) => found,
            Err(answer) => return Ok(Err(answer)),
        };
    if let Some(explained) = &mut ctx.explained {
        explained.took(route);
    }
    if let Some(noted) = &mut ctx.noted {
        noted.took(route);
    }
    if let Some(traced) = &mut ctx.traced {
        traced.took(route);
    }
    ctx.handling.clone_from(&route.handling);
    if let Some(fault) = route.handling.as_ref().and_then(|handling| handling.fault.as_ref()) {
        let injected = fault::inject(fault, session).await?;
        ctx.delayed = injected.delayed;
        if let Some(abort) = injected.abort {
            return Ok(Err(Answer { response: changes(route), ..abort }));
        }
    }
    let request = view::request(session, ctx.scheme());
    if let Some(answer) = preflight(route, &request) {
        return Ok(Err(answer));
    }
    Ok(take(&ctx.active, listener, route, block, &request))
}

/// The answer to a request that asks what other sites' pages may ask, if it is one and the route knows its site.
pub(super) fn preflight(route: &Route, request: &Request<'_>) -> Option<Answer> {
    let fields = route.handling.as_ref()?.cors.as_ref()?.preflight(request)?;
    Some(Answer { status: 200, why: Why::Preflight, fields, ..Answer::EMPTY })
}

pub(super) type Found<'s> = (&'s Listener, &'s Arc<Route>, Option<&'s Match>);

/// The route that takes a request.
pub(super) fn find<'s>(
    active: &'s Active,
    connection: Option<&Connection>,
    request: Request<'_>,
    scheme: &str,
    other_server: OtherServer,
) -> Result<Found<'s>, Answer> {
    let connection = connection.ok_or(Answer::PORT_GONE)?;
    let listener = active.snapshot.listener(connection.listener).ok_or(Answer::PORT_GONE)?;
    let hosts = listener.virtual_hosts(connection.server_name()).ok_or(Answer::PORT_GONE)?;
    // A client of HTTP/2 says its scheme itself, and conditions go by that; whether it has to come back by TLS is not
    // its to say.
    let claims = request.scheme != scheme;
    let redirects = claims && hosts.find(request.authority).is_some_and(|host| host.https_redirect);
    let request = &if redirects { Request { scheme, ..request } } else { request };
    match decide(hosts, request, &mut ()) {
        Decision::Route(route, block) => Ok((listener, route, block)),
        Decision::ToHttps(_) => {
            Err(Answer { status: 301, location: Redirect::to_https(request), ..Answer::EMPTY })
        }
        Decision::NoHost
            if other_server == OtherServer::Misdirected && listener.serves_elsewhere(request.authority) =>
        {
            Err(Answer::MISDIRECTED)
        }
        Decision::NoHost | Decision::NoRoute(_) => Err(Answer::NO_ROUTE),
    }
}

/// Takes the turn of a request that has its route.
pub(super) fn take(
    active: &Active,
    listener: &Listener,
    route: &Route,
    block: Option<&Match>,
    request: &Request<'_>,
) -> Result<Turn, Answer> {
    let answer = || Answer { response: changes(route), ..Answer::EMPTY };
    let split = match &route.action {
        Action::Forward(split) => split,
        Action::Redirect(redirect) => {
            let location = redirect.location(request, block, listener.key.port);
            return Err(Answer { status: redirect.status, location, ..answer() });
        }
        Action::Respond(response) => {
            let body = Bytes::copy_from_slice(&response.body);
            return Err(Answer { status: response.status, body, ..answer() });
        }
    };
    let turn = active.upstreams.ticket(split.id).take();
    let target = &split.targets[turn];
    let transform = target.transform.clone();
    if active.snapshot.cluster(target.cluster).service.is_none() {
        let response = transform.map_or_else(Vec::new, |transform| transform.response.to_vec());
        return Err(Answer { response, ..Answer::NO_CLUSTER });
    }
    let rewrite = transform.as_ref().and_then(|transform| transform.path.as_ref());
    let path = rewrite.and_then(|rewrite| rewrite.apply(request.path, block));
    Ok(Turn { target: (split.id, turn), cluster: target.cluster, transform, path })
}

/// What a route changes of the answers that are given in its name.
fn changes(route: &Route) -> Vec<HeaderOps> {
    route.answers.as_deref().cloned().into_iter().collect()
}
