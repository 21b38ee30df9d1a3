//! A Kubernetes API server: plain HTTP on loopback, objects in memory, and everything that may be wrong with one.
//!
//! ```no_run
//! use trysail_testkit::kubernetes::ApiServer;
//!
//! let api = ApiServer::start();
//! api.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
//! std::fs::write("kubeconfig", api.kubeconfig("shop")).unwrap(); // for a gateway, or for kubectl
//! api.edit("virtualservices", "shop", "web", |object| object["spec"]["http"][0]["route"][0]["weight"] = 10.into());
//! api.forbid("secrets"); // … and api.heal() when it is over
//! assert_eq!(api.count("list", "virtualservices"), 1);
//! ```
//!
//! It answers as kube-apiserver 1.36 does: `testdata/kubernetes/recordings` holds what that one said, and a test asks
//! the same here. It knows discovery, the kinds that a gateway reads and writes (`kinds`), versions of objects, lists
//! in pages, watches from any version that is kept, selectors, merge, JSON and strategic patches, server-side apply,
//! the status subresource, finalizers, and Istio's CRDs by their own schemas and rules. What it does not do: TLS,
//! protobuf, defaults of built-in kinds beyond what the recordings show, one storage for the two kinds of events,
//! lists of built-in kinds merged by their keys when they are applied (each is one field), and schemas of built-in kinds
//! and of Gateway API (any shape passes but where `native` says otherwise).
//!
//! Two ways lead to an object. Over HTTP everything is judged as in a cluster. The functions here are the test's: they
//! take status, `creationTimestamp`, `uid` and endpoints on loopback as they are written, and make namespaces that are
//! missing. What else a real server would refuse they refuse too, by a panic.

mod answer;
mod clock;
mod cluster;
mod discovery;
mod kinds;
mod kubectl;
mod lists;
mod native;
mod owners;
mod patch;
mod refusal;
mod request;
mod rules;
mod schema;
mod selector;
mod server;
mod store;
mod switches;
mod trouble;
mod users;
mod watch;
mod yaml;

#[cfg(test)]
mod recordings;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

pub use self::kubectl::Kubectl;

use self::cluster::{Part, Unknown, Write};
use self::server::Shared;
use self::store::Key;
use self::trouble::Reach;

/// A running API server. It stops when dropped.
///
/// Kinds are named by their plural, or their kind, with the group where two share it: `virtualservices`,
/// `VirtualService`, `gateways.gateway.networking.k8s.io` (`gateways` alone are Istio's). Functions panic for a kind
/// that is not known.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    /// Bound and never listening, so that the port is still ours while connections are refused.
    _port: socket2::Socket,
}

impl ApiServer {
    /// Listens on a loopback port that the kernel picks, with the namespaces that every cluster has.
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    pub fn start() -> ApiServer {
        ApiServer::start_at(FIRST)
    }

    /// The same, with the first write at the version after `version`.
    fn start_at(version: u64) -> ApiServer {
        let port = bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = port.local_addr().ok().and_then(|address| address.as_socket());
        let address = address.expect("a bound socket has an address");
        let shared = Arc::new(Shared::new(address, version));
        let listener = listen(address);
        let serving = shared.clone();
        thread::spawn(move || accept(&serving, listener));
        ApiServer { shared, _port: port }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.shared.address
    }

    /// `http://127.0.0.1:…`, without a slash at the end.
    fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The text of a kubeconfig for it, by which one may do everything; `namespace` is that of its context.
    pub fn kubeconfig(&self, namespace: &str) -> String {
        self.kubeconfig_of(users::ADMIN, namespace)
    }

    /// The same for another user: `nobody`, or one that [`ApiServer::grant`] has made.
    pub fn kubeconfig_of(&self, user: &str, namespace: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{name: test, cluster: {{server: \
             \"{}\"}}}}]\nusers: [{{name: \"{user}\", user: {{token: \"{user}\"}}}}]\ncontexts: [{{name: test, context: \
             {{cluster: test, user: \"{user}\", namespace: \"{namespace}\"}}}}]\n",
            self.url()
        )
    }

    /// Creates, or replaces, every object of a YAML text. Those without a namespace go to `default`. What their kinds
    /// do not know is dropped, as the real server does.
    ///
    /// # Panics
    ///
    /// When it is no YAML, of an unknown kind, or refused.
    #[track_caller]
    pub fn apply(&self, text: &str) {
        let documents = yaml::documents(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        for object in documents {
            self.put(object);
        }
    }

    /// Creates or replaces one object, and gives it as it is then.
    ///
    /// # Panics
    ///
    /// When it is of an unknown kind, or refused.
    #[track_caller]
    pub fn put(&self, mut object: Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, name) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        let wanted = if group.is_empty() { name.clone() } else { format!("{name}.{group}") };
        let put = self.shared.change(|state| {
            let cluster = &mut state.cluster;
            let kind = cluster.kind(&wanted).ok_or_else(|| format!("no kind {wanted} is known"))?;
            let mut namespace = text(&object["metadata"]["namespace"]);
            if !cluster.kinds[kind].is_namespaced {
                namespace.clear();
            } else {
                if namespace.is_empty() {
                    "default".clone_into(&mut namespace);
                }
                cluster.ensure_namespace(&namespace);
            }
            let key = Key { kind, namespace, name: text(&object["metadata"]["name"]) };
            let write = trusted(version);
            let written = match cluster.store.get(&key).cloned() {
                None => cluster.create(kind, &key.namespace, object, &write),
                Some(before) => {
                    object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
                    if object["status"].is_null() && !before["status"].is_null() {
                        object["status"] = before["status"].clone();
                    }
                    cluster.replace(&key, Part::Main, object, &write)
                }
            };
            written.map(|written| Value::clone(&written.object)).map_err(|refusal| refusal.message)
        });
        put.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Changes one object as controllers do: read, edit, write.
    ///
    /// # Panics
    ///
    /// When it is not there, or refused.
    #[track_caller]
    pub fn edit(&self, kind: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) -> Value {
        let object = self.get(kind, namespace, name);
        let mut object = object.unwrap_or_else(|| panic!("no {kind} {namespace}/{name}"));
        edit(&mut object);
        self.put(object)
    }

    /// An object as it is now; the namespace is empty for kinds of the cluster's scope.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = self.key(kind, namespace, name);
        self.shared.lock().cluster.store.get(&key).map(|object| Value::clone(object))
    }

    /// All objects of a kind, by namespace and name.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let kind = self.kind(kind);
        let state = self.shared.lock();
        state.cluster.store.list(kind, None).into_iter().map(|(_, object)| Value::clone(object)).collect()
    }

    /// Deletes an object; whether it was there. One with a finalizer stays, with its `deletionTimestamp`.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let key = self.key(kind, namespace, name);
        self.shared.change(|state| state.cluster.delete(&key, &Value::Null, false).is_ok())
    }

    fn kind(&self, name: &str) -> kinds::KindId {
        self.shared.lock().cluster.kind(name).unwrap_or_else(|| panic!("no kind {name} is known"))
    }

    fn key(&self, kind: &str, namespace: &str, name: &str) -> Key {
        Key { kind: self.kind(kind), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.stopping = true;
            state.cut();
        });
        let _ = TcpStream::connect_timeout(&self.addr(), Duration::from_secs(1));
    }
}

fn trusted(version: &str) -> Write {
    Write {
        version: version.to_owned(),
        manager: "test".to_owned(),
        unknown: Unknown::Warn,
        is_dry: false,
        is_trusted: true,
    }
}

/// Serves until the server ends; while connections are to be refused nobody listens.
fn accept(shared: &Arc<Shared>, first: TcpListener) {
    let mut listener = Some(first);
    while let Some(open) = listener.take() {
        for stream in open.incoming().flatten() {
            let (stopping, reach) = shared.change(|state| (state.stopping, state.trouble.reach));
            if stopping {
                return;
            }
            match reach {
                Reach::Answers => {
                    let shared = shared.clone();
                    // Whoever is on the other side sees what went wrong, and tells.
                    thread::spawn(move || drop(shared.serve(stream)));
                }
                Reach::Drops => {}
                Reach::Refuses => break,
            }
        }
        drop(open);
        shared.change(|state| state.listening = false);
        let forever = Duration::from_secs(3_600);
        if shared.wait_while(forever, |state| state.trouble.reach == Reach::Refuses).stopping {
            return;
        }
        listener = Some(listen(shared.address));
        shared.change(|state| state.listening = true);
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = bind(address);
    socket.listen(1_024).expect("a bound port can be listened on");
    socket.into()
}

fn bind(address: SocketAddr) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    // The port is held by a socket of its own beside the one that listens.
    socket.set_reuse_port(true).expect("a port can be shared");
    socket.bind(&address.into()).expect("a loopback port can be bound");
    socket
}

/// Versions begin here, so that a test may ask for one that is too old.
const FIRST: u64 = 100;

impl ApiServer {
    /// Lets a user do what the rules of the ClusterRoles in a YAML text say, and of Roles as if they were such; other
    /// objects are passed over. Beside `admin` and `nobody` a user is there as soon as it was granted something.
    ///
    /// # Panics
    ///
    /// When it is no YAML.
    #[track_caller]
    pub fn grant(&self, user: &str, text: &str) {
        let documents = yaml::documents(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let is_role = |object: &&Value| object["kind"] == "ClusterRole" || object["kind"] == "Role";
        let rules = documents.iter().filter(is_role).flat_map(|role| {
            let rules = role["rules"].as_array().cloned();
            rules.unwrap_or_default()
        });
        self.shared.change(|state| state.users.grant(user, rules.collect()));
    }

    /// From now on who sends no token is anonymous, and may do nothing. Before, it is the admin: kubectl sends none
    /// over plain HTTP.
    pub fn require_tokens(&self) {
        self.shared.change(|state| state.users.wants_tokens = true);
    }
}
