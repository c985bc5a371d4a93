//! A real server: to be started, and running.

use super::http::{Client, Reply};
use super::models::{serve, sum_group, Behaviour, Memory};
use super::PATIENCE;
use modelport_dataplane::batch::{merge, Batching, Completions, Parking};
use modelport_dataplane::error::Result;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::listen::{run, Config, Ended, Handle};
use modelport_dataplane::message::{Answer, Call};
use modelport_dataplane::metrics::ModelMetrics;
use modelport_dataplane::model::{Metadata, Model, Options, Server, TensorSpec};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{JoinHandle, ThreadId};

/// A server to be started.
pub struct Setup {
    pub server: Arc<Server>,
    pub repository: Memory,
    completions: Arc<Completions>,
    parking: Arc<Parking>,
    pub config: Config,
}

impl Setup {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let repository = Memory::default();
        let server =
            Server::new("modelport".to_owned(), "1.2.3".to_owned(), Box::new(repository.clone()), limits);
        Self {
            server,
            repository,
            completions: Arc::default(),
            parking: Arc::default(),
            config: Config { drain_timeout: PATIENCE, ..Config::default() },
        }
    }

    /// A ready model whose thread calls `behaviour` for each request.
    pub fn model(&self, metadata: Metadata, options: Options, behaviour: Behaviour) -> Arc<Model> {
        let model = self.put(metadata, options);
        let queue = Arc::clone(&model.queue);
        std::thread::spawn(move || {
            while let Some(work) = queue.take() {
                serve(&queue, &work, &behaviour);
            }
        });
        model
    }

    /// Lets the I/O thread call a model of `behaviour` as well.
    pub fn call_here(model: &Arc<Model>, behaviour: Behaviour) {
        let queue = Arc::downgrade(&model.queue);
        model.queue.set_caller(Some(Arc::new(move |work| {
            serve(&queue.upgrade().unwrap(), &work, &behaviour);
        })));
    }

    /// A ready model with a function for each request.
    pub fn function(
        &self,
        name: &str,
        options: Options,
        function: impl Fn(&Call) -> Result<Answer> + Send + Sync + 'static,
    ) -> Arc<Model> {
        self.model(Metadata { name: name.to_owned(), ..Metadata::default() }, options, Arc::new(function))
    }

    /// `sum`: the sum of each row, in batches; in this version.
    pub fn sum(&self, version: Option<&str>) -> Arc<Model> {
        let metadata = Metadata {
            name: "sum".to_owned(),
            version: version.map(str::to_owned),
            platform: "rust".to_owned(),
            inputs: vec![TensorSpec {
                name: "x".to_owned(),
                datatype: "FP64".to_owned(),
                shape: vec![-1, 4],
                ..TensorSpec::default()
            }],
            outputs: vec![TensorSpec {
                name: "sum".to_owned(),
                datatype: "FP64".to_owned(),
                shape: vec![-1],
                ..TensorSpec::default()
            }],
            description: "Adds up <rows>".to_owned(),
            ..Metadata::default()
        };
        let model = self.put(metadata, Options { batching: Batching::default(), ..Options::default() });
        let queue = Arc::clone(&model.queue);
        std::thread::spawn(move || {
            while let Some(work) = queue.take() {
                for members in merge::group(&work.calls, 256) {
                    queue.complete(work.ticket, sum_group(&work.calls, &members));
                }
            }
        });
        model
    }

    fn put(&self, metadata: Metadata, options: Options) -> Arc<Model> {
        let model = Model::new(
            metadata,
            options,
            Arc::new(ModelMetrics::default()),
            &self.completions,
            &self.parking,
        );
        model.set_ready(true);
        self.server.registry.put(Arc::clone(&model));
        model
    }

    /// Starts it with REST on a free port.
    pub fn start(mut self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        self.config.http = Some(listener);
        let handle = Handle::default();
        let (server, completions, parking, config, stop) = (
            Arc::clone(&self.server),
            Arc::clone(&self.completions),
            Arc::clone(&self.parking),
            self.config,
            handle.clone(),
        );
        let thread = std::thread::spawn(move || run(server, completions, parking, config, stop).unwrap());
        Running { server: self.server, repository: self.repository, address, handle, thread: Some(thread) }
    }
}

/// A server that runs; stopped when dropped.
pub struct Running {
    pub server: Arc<Server>,
    pub repository: Memory,
    pub address: SocketAddr,
    pub handle: Handle,
    thread: Option<JoinHandle<Ended>>,
}

impl Running {
    pub fn client(&self) -> Client<TcpStream> {
        Client::connect(self.address)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.client().request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &str) -> Reply {
        self.client().request("POST", path, &[], body.as_bytes())
    }

    /// The thread that was given to the server.
    pub fn thread_id(&self) -> ThreadId {
        self.thread.as_ref().unwrap().thread().id()
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Ended {
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            if !std::thread::panicking() {
                thread.join().unwrap();
            }
        }
    }
}
