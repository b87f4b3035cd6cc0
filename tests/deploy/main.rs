//! What stands in deploy/, in the Dockerfile and in compose.yaml: nginx in front of real nodes, with the files that are shipped;
//! the manifests, read by the schemas of their readers and compared with the program. Not here: what cannot be run without
//! a cluster or a container engine.

#[path = "../support/mod.rs"]
mod support;

mod complaints;
mod containers;
mod crowd;
mod documents;
mod kubernetes;
mod nginx;
mod nginx_bounds;
mod proxy;
