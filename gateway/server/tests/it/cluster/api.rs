//! The API server of a test: the test kit's, in this process, or the one whose kubeconfig is in `TRYSAIL_TEST_KUBECONFIG`.
//!
//! That one needs Istio's CRDs and kubectl, and tests run one at a time (`--test-threads 1`), as they share its
//! namespaces. What a test has made there goes when the test ends. Tests that put the API server in trouble say that they
//! are left out.

use std::collections::BTreeSet;
use std::env;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};
use trysail_testkit::folder::Folder;
use trysail_testkit::kubernetes::{ApiServer, Kubectl};

/// An API server.
pub(super) enum Api {
    Own(ApiServer),
    Elsewhere(Elsewhere),
}

/// One that is reached by kubectl.
pub(super) struct Elsewhere {
    kubectl: Kubectl,
    kubeconfig: PathBuf,
    /// Kind, namespace and name of what the test has made.
    made: Mutex<BTreeSet<[String; 3]>>,
}

/// The namespace that the gateway runs in.
pub(super) const NAMESPACE: &str = "gw";

impl Api {
    /// The one that tests are to run against.
    pub(super) fn start() -> Api {
        let named = env::var_os("TRYSAIL_TEST_KUBECONFIG").filter(|path| !path.is_empty());
        match named {
            Some(path) => {
                Api::elsewhere(Path::new(&path)).expect("kubectl is needed for TRYSAIL_TEST_KUBECONFIG")
            }
            None => Api::own_one(),
        }
    }

    /// The test kit's, for a test that switches its troubles; `None`, said aloud, where another is to be used.
    pub(super) fn with_switches() -> Option<Api> {
        if env::var_os("TRYSAIL_TEST_KUBECONFIG").is_none_or(|path| path.is_empty()) {
            return Some(Api::own_one());
        }
        // Around the harness, which keeps back what a test prints that passes.
        let _ = writeln!(stderr(), "left out: it needs an API server that can be put in trouble");
        None
    }

    fn own_one() -> Api {
        let api = ApiServer::start();
        api.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n"));
        Api::Own(api)
    }

    /// One that is reached by kubectl alone; `None` where there is none.
    pub(super) fn elsewhere(kubeconfig: &Path) -> Option<Api> {
        let kubectl = Kubectl::find_for(kubeconfig)?;
        let api = Elsewhere { kubectl, kubeconfig: kubeconfig.to_owned(), made: Mutex::default() };
        api.ensure_namespace(NAMESPACE);
        Some(Api::Elsewhere(api))
    }

    /// The test kit's: for what no other can do.
    pub(super) fn own(&self) -> &ApiServer {
        match self {
            Api::Own(api) => api,
            Api::Elsewhere(_) => panic!("a test of troubles begins with Api::with_switches"),
        }
    }

    /// A file by which the gateway reaches it.
    pub(super) fn kubeconfig(&self, folder: &Folder) -> PathBuf {
        match self {
            Api::Own(api) => {
                folder.write("kubeconfig", &api.kubeconfig(NAMESPACE));
                folder.path().join("kubeconfig")
            }
            Api::Elsewhere(api) => api.kubeconfig.clone(),
        }
    }

    /// Creates or replaces every object of a YAML text. Those without a namespace are in `default`.
    pub(super) fn apply(&self, text: &str) {
        match self {
            Api::Own(api) => api.apply(text),
            Api::Elsewhere(api) => {
                for document in text.split("\n---\n") {
                    let object: Value = serde_yaml::from_str(document).expect("YAML");
                    api.put(&object);
                }
            }
        }
    }

    pub(super) fn put(&self, object: Value) {
        match self {
            Api::Own(api) => drop(api.put(object)),
            Api::Elsewhere(api) => api.put(&object),
        }
    }

    /// Changes one object as controllers do: read, edit, write.
    pub(super) fn edit(&self, plural: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(plural, name).unwrap_or_else(|| panic!("no {plural} default/{name}"));
        edit(&mut object);
        self.put(object);
    }

    /// An object of `default`.
    pub(super) fn get(&self, plural: &str, name: &str) -> Option<Value> {
        match self {
            Api::Own(api) => api.get(plural, "default", name),
            Api::Elsewhere(api) => api.get(plural, "default", name),
        }
    }

    pub(super) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        match self {
            Api::Own(api) => drop(api.delete(plural, namespace, name)),
            Api::Elsewhere(api) => {
                let told = api.kubectl.run(&["delete", plural, name, "-n", namespace, "--now"]);
                told.unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    /// All objects of a plural, of all namespaces.
    pub(super) fn all(&self, plural: &str) -> Vec<Value> {
        match self {
            Api::Own(api) => api.all(plural),
            Api::Elsewhere(api) => {
                let list = api.kubectl.run(&["get", plural, "-A", "-o", "json"]).unwrap_or_default();
                let list: Value = serde_json::from_str(&list).unwrap_or_default();
                list["items"].as_array().cloned().unwrap_or_default()
            }
        }
    }

    /// The condition that a gateway wrote to an object of `default`: status, reason and message.
    pub(super) fn condition(&self, plural: &str, name: &str) -> Option<[String; 3]> {
        let object = self.get(plural, name)?;
        let conditions = object["status"]["conditions"].as_array()?;
        let ours = conditions.iter().find(|condition| condition["type"] == "trysail.dev/Applied")?;
        Some(["status", "reason", "message"].map(|field| ours[field].as_str().unwrap_or_default().to_owned()))
    }
}

impl Elsewhere {
    fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let told = self.kubectl.run(&["get", kind, name, "-n", namespace, "-o", "json"]).ok()?;
        serde_json::from_str(&told).ok()
    }

    fn put(&self, object: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let (kind, name, namespace) =
            (text(&object["kind"]), text(&metadata["name"]), text(&metadata["namespace"]));
        let namespace = if namespace.is_empty() { "default" } else { &namespace };
        self.ensure_namespace(namespace);
        let verb = if self.get(&kind, namespace, &name).is_some() { "replace" } else { "create" };
        let told = self.kubectl.feed(&[verb, "-n", namespace, "-f", "-"], &object.to_string());
        told.unwrap_or_else(|error| panic!("{error}"));
        // What its kubelet would write.
        if kind == "Pod" {
            let status = json!({"status": object["status"]}).to_string();
            let words = [
                "patch",
                "pod",
                &name,
                "-n",
                namespace,
                "--subresource=status",
                "--type=merge",
                "-p",
                &status,
            ];
            self.kubectl.run(&words).unwrap_or_else(|error| panic!("{error}"));
        }
        self.note([kind, namespace.to_owned(), name]);
    }

    fn ensure_namespace(&self, name: &str) {
        if self.get("namespace", "default", name).is_none() {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            // Who comes second finds it there.
            let _ = self.kubectl.feed(&["apply", "-f", "-"], &object.to_string());
        }
    }

    fn note(&self, made: [String; 3]) {
        self.made.lock().expect("nobody panics with it").insert(made);
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let Ok(made) = self.made.lock() else { return };
        for [kind, namespace, name] in made.iter() {
            let _ = self.kubectl.run(&["delete", kind, name, "-n", namespace, "--ignore-not-found", "--now"]);
        }
    }
}
