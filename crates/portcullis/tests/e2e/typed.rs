//! What requests say, as policies read it: messages of gRPC, forms, and parameters of every kind.

mod cuts;
mod forms;
mod grpc;
mod messages;
