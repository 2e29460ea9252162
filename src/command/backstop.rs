//! Checks what a `Gateway` of Envoy Gateway has beside the filter: a policy that denies requests
//! which the filter has not checked, and no policy of a route that replaces either.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use crate::gateway::{Form, Target, targets};
use crate::objects::Object;
use crate::tree::{Node, Position};
use crate::uses::{Contents, Platform, Remark, Use};

/// A use of the filter that protects a `Gateway`.
struct Guard {
    policy: Rc<Object>,
    form: Form,
    target: Target,
    /// The names of the Gateways.
    gateways: BTreeSet<String>,
    /// The headers that only the filter sets, in lower case.
    headers: BTreeSet<String>,
    /// Whether it allows some requests without a token.
    has_exceptions: bool,
}

/// What a remark is about: the use of the filter in an object, or the object itself.
#[derive(Debug)]
enum About {
    Use(Rc<Object>),
    Object(Rc<Object>),
}

/// Adds remarks on what can let requests bypass the filter of a Gateway.
pub(crate) fn remark_on_guards(files: &mut [Contents]) {
    let objects: Vec<Rc<Object>> = files.iter().flat_map(|file| &file.objects).cloned().collect();
    let uses = files.iter().flat_map(|file| &file.uses);
    let inbound: Vec<&Use> = uses.filter(|found| found.has("inbound")).collect();
    let guards: Vec<Guard> = inbound.iter().flat_map(|found| guards(found, &objects)).collect();
    let checking: Vec<Rc<Object>> =
        inbound.iter().filter_map(|found| found.object.clone()).collect();
    for guard in &guards {
        let neighbors = Neighbors { guard, objects: &objects, checking: &checking };
        for (about, remark) in neighbors.remarks() {
            add(files, &about, remark);
        }
    }
}

/// Adds a remark, but not twice.
fn add(files: &mut [Contents], about: &About, remark: Remark) {
    let (About::Use(object) | About::Object(object)) = about;
    let contains = |file: &&mut Contents| file.objects.iter().any(|it| Rc::ptr_eq(it, object));
    let Some(file) = files.iter_mut().find(contains) else { return };
    let is_in_object = |found: &&mut Use| {
        found.has("inbound") && found.object.as_ref().is_some_and(|it| Rc::ptr_eq(it, object))
    };
    let remarks = match about {
        About::Use(_) => file.uses.iter_mut().find(is_in_object).map(|found| &mut found.remarks),
        About::Object(_) => Some(&mut file.remarks),
    };
    if let Some(remarks) = remarks.filter(|remarks| !remarks.contains(&remark)) {
        remarks.push(remark);
    }
}

/// The Gateways that a use of the filter protects.
fn guards(found: &Use, objects: &[Rc<Object>]) -> Vec<Guard> {
    let policy = found.object.as_ref().filter(|_| found.platform == Platform::EnvoyGateway);
    let document = found.document();
    let inbound = document.as_ref().and_then(|document| document.get("inbound"));
    let (Some(policy), Some(inbound)) = (policy, inbound) else { return Vec::new() };
    let Some((form, _)) = Form::of(found, policy) else { return Vec::new() };
    let claims = inbound.pointer("/forward/claims").and_then(Value::as_object);
    let headers: BTreeSet<String> =
        claims.into_iter().flatten().map(|(name, _)| name.to_ascii_lowercase()).collect();
    let rules = inbound.get("rules").and_then(Value::as_array);
    let mut access = rules.into_iter().flatten().filter_map(|rule| rule.get("access")?.as_str());
    let has_exceptions = access.any(|access| matches!(access, "public" | "optional"));
    let of_gateways = targets(&policy.spec).into_iter().filter(|target| target.kind == "Gateway");
    let guard = |target: Target| Guard {
        policy: Rc::clone(policy),
        form,
        gateways: target.names(&policy.namespace, objects),
        headers: headers.clone(),
        has_exceptions,
        target,
    };
    of_gateways.map(guard).collect()
}

/// A guard, and the objects beside it.
struct Neighbors<'a> {
    guard: &'a Guard,
    objects: &'a [Rc<Object>],
    /// Those with an inbound use of the filter.
    checking: &'a [Rc<Object>],
}

impl<'a> Neighbors<'a> {
    /// All remarks.
    fn remarks(&self) -> Vec<(About, Remark)> {
        let mut remarks = Vec::new();
        let mut backstops: Vec<&Rc<Object>> =
            self.policies("SecurityPolicy").filter(|policy| denies(policy)).collect();
        let has_backstop = !backstops.is_empty();
        if !has_backstop {
            let about = About::Use(Rc::clone(&self.guard.policy));
            remarks.push((about, self.remark(self.guard.target.at, NO_BACKSTOP)));
        }
        for policy in self.objects {
            let Some(at) = self.route_target(policy) else { continue };
            let text = match &*policy.kind {
                "EnvoyExtensionPolicy" => self.replaces_filter(policy),
                "SecurityPolicy" if has_backstop && denies(policy) => {
                    backstops.push(policy);
                    None
                }
                "SecurityPolicy" if has_backstop => replaces_backstop(policy).map(str::to_owned),
                _ => None,
            };
            if let Some(text) = text {
                remarks.push((About::Object(Rc::clone(policy)), self.remark(at, &text)));
            }
        }
        for policy in backstops {
            let rules = self.rules(policy).into_iter();
            remarks.extend(rules.map(|remark| (About::Object(Rc::clone(policy)), remark)));
        }
        remarks
    }

    /// A remark about the Gateway.
    fn remark(&self, at: Position, text: &str) -> Remark {
        let text = text.replace("GATEWAY", &self.guard.target.title());
        Remark { at, is_mistake: false, text }
    }

    /// The policies of this kind for the Gateway.
    fn policies(&self, kind: &str) -> impl Iterator<Item = &'a Rc<Object>> {
        let &Self { guard, objects, .. } = self;
        let is_of_gateway = move |policy: &Object| {
            targets(&policy.spec).iter().any(|target| {
                let names = target.names(&policy.namespace, objects);
                let is_same = target.is_written_as(&guard.target)
                    || (target.kind == "Gateway" && !names.is_disjoint(&guard.gateways));
                is_same && target.has_section_of(&guard.target)
            })
        };
        let is_beside = move |policy: &&Rc<Object>| {
            policy.namespace == guard.policy.namespace && is_of_gateway(policy)
        };
        objects.iter().filter(move |policy| policy.kind == kind).filter(is_beside)
    }

    /// The target of a policy that is a route of the Gateway.
    fn route_target(&self, policy: &Object) -> Option<Position> {
        let Guard { policy: guard, gateways, .. } = self.guard;
        let is_of_gateway =
            |route: &Object| gateways.iter().any(|name| route.is_route_of(&guard.namespace, name));
        let targets = targets(&policy.spec).into_iter().filter(Target::is_route);
        let is_target = |target: &Target| {
            let mut routes =
                self.objects.iter().filter(|route| target.is(&policy.namespace, route));
            routes.any(|route| is_of_gateway(route))
        };
        targets.filter(is_target).map(|target| target.at).next()
    }

    /// How the policy of a route replaces the guard. A merge replaces lists as a whole.
    fn replaces_filter(&self, policy: &Rc<Object>) -> Option<String> {
        let form = self.guard.form;
        if self.checking.iter().any(|it| Rc::ptr_eq(it, policy)) {
            None
        } else if !form.extensions(policy).is_empty() {
            Some(REPLACED_LIST.replace("LIST", form.list()))
        } else {
            policy.spec.get("mergeType").is_none().then(|| REPLACED_FILTER.to_owned())
        }
    }

    /// Remarks on the rules of a backstop that allow more than what the filter has checked.
    fn rules(&self, policy: &Object) -> Vec<Remark> {
        let rules = policy.spec.path(&["authorization", "rules"]);
        let rules = rules.map(Node::elements).unwrap_or_default().iter();
        let allowing = rules.filter(|rule| rule.get("action").and_then(Node::text) != Some("Deny"));
        allowing.filter_map(|rule| self.rule(rule)).collect()
    }

    /// A remark on a rule of a backstop that allows requests.
    fn rule(&self, rule: &Node) -> Option<Remark> {
        let headers = self.headers_of(rule);
        if headers.iter().any(|(_, header)| self.is_removed(header)) {
            return None;
        }
        if let Some((at, header)) = headers.first() {
            return Some(self.remark(*at, &SPOOFED.replace("HEADER", header)));
        }
        let is_exception = rule.path(&["operation", "path"]).is_some() && self.guard.has_exceptions;
        (!is_exception).then(|| self.remark(rule.at, UNCHECKED))
    }

    /// The headers of the filter that a rule requires.
    fn headers_of(&self, rule: &Node) -> Vec<(Position, &'a str)> {
        let Guard { headers, .. } = self.guard;
        let required = rule.path(&["principal", "headers"]).map(Node::elements).unwrap_or_default();
        let required = required.iter().filter_map(|header| {
            let name = header.get("name")?.text()?.to_ascii_lowercase();
            Some((header.at, &**headers.get(&name)?))
        });
        // An expression is not evaluated.
        let expression = rule.member("cel");
        let in_expression = headers.iter().filter_map(|header| {
            let expression = expression
                .filter(|it| it.value.text().is_some_and(|text| text.contains(&**header)))?;
            Some((expression.at, &**header))
        });
        required.chain(in_expression).collect()
    }

    /// Whether a header of clients is removed.
    fn is_removed(&self, header: &str) -> bool {
        self.policies("ClientTrafficPolicy").any(|policy| {
            let removed = policy.spec.path(&["headers", "earlyRequestHeaders", "remove"]);
            let mut removed = removed.map(Node::elements).unwrap_or_default().iter();
            removed.any(|name| name.text().is_some_and(|name| name.eq_ignore_ascii_case(header)))
        })
    }
}

/// Whether a `SecurityPolicy` denies what none of its rules allows, which is the default.
fn denies(policy: &Object) -> bool {
    policy.spec.get("authorization").is_some_and(|authorization| {
        authorization.get("defaultAction").is_none_or(|action| action.text() == Some("Deny"))
    })
}

/// How the `SecurityPolicy` of a route, which does not deny, replaces the backstop.
fn replaces_backstop(policy: &Object) -> Option<&'static str> {
    let merges = policy.spec.get("mergeType").is_some();
    let is_kept = merges && policy.spec.get("authorization").is_none();
    (!is_kept).then_some(REPLACED_BACKSTOP)
}

const NO_BACKSTOP: &str = "no backstop for GATEWAY: where Envoy does not run the filter, because \
     it rejected a listener or because the policy of a route replaces this one, requests are \
     forwarded without a check; add a SecurityPolicy with `defaultAction: Deny` that allows only a \
     header of `forward.claims`, and a ClientTrafficPolicy that removes this header from requests \
     of clients";

const UNCHECKED: &str = "this rule allows requests that the filter of GATEWAY has not checked; \
     require a header of its `forward.claims`";

const SPOOFED: &str = "clients of GATEWAY can send `HEADER` themselves; add a ClientTrafficPolicy \
     with `headers.earlyRequestHeaders.remove: [HEADER]`";

const REPLACED_FILTER: &str = "for its route, this policy replaces the filter of GATEWAY: requests \
     are forwarded without a check, or denied by a backstop; add `mergeType: StrategicMerge`";

const REPLACED_LIST: &str = "for its route, this policy replaces the filter of GATEWAY, because a \
     merge replaces `LIST` as a whole: requests are forwarded without a check, or denied by a \
     backstop; use another Gateway for the route";

const REPLACED_BACKSTOP: &str = "for its route, this policy replaces the backstop of GATEWAY; \
     repeat its `authorization` or, without `authorization`, add `mergeType: StrategicMerge`";
