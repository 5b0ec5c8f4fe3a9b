"""A grpcio server and client whose messages come from a set of protobuf descriptors.

    protobuf_peer.py serve PORT SET [gzip|deflate]                 packs its answers, if told so; prints the id of each message of a stream that came
    protobuf_peer.py silent GATE_ADDRESS AUTHORITY TOKEN METHOD    begins a call with a deadline of 500 ms, sends no message, and prints
                                                                   how it ended
    protobuf_peer.py call GATE_ADDRESS AUTHORITY TOKEN SET CALL...    prints one line for each call: how it ended
    protobuf_peer.py open GATE_ADDRESS AUTHORITY TOKEN SET CALL       sends one message of a stream and leaves it open; prints `answered`, and how it
                                                                   ended

A CALL is `Method {json}`, `Method:gzip {json}` or `Method:raw hex`; of a method that takes a stream, a list of messages, and `Method:paced`
sends each when the one before is answered. What was answered before a call failed stands behind how it ended.
"""

import json
import socket
import sys
import threading
from concurrent import futures

import grpc
import hpack
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from hyperframe import frame as frames

SERVICE = "shop.v1.Refunds"


def methods(path: str) -> dict:
    pool = descriptor_pool.DescriptorPool()
    with open(path, "rb") as file:
        for proto in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
            pool.Add(proto)
    return pool.FindServiceByName(SERVICE).methods_by_name


def classes(method) -> tuple:
    return message_factory.GetMessageClass(method.input_type), message_factory.GetMessageClass(method.output_type)


def serve(port: str, path: str, packed: str = "NoCompression") -> None:
    def handler(method):
        asked, answered = classes(method)

        def same(message) -> object:
            # What has the same names is answered as it came.
            return json_format.ParseDict(json_format.MessageToDict(message), answered(), ignore_unknown_fields=True)

        def came(request):
            for message in request:
                print(message.id, flush=True)
                yield message

        def answer(request) -> object:
            return same(([asked(), *came(request)])[-1] if method.client_streaming else request)

        def each(request, _):
            return (same(message) for message in came(request)) if method.client_streaming else iter([same(request)])

        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        function = each if method.server_streaming else (lambda request, _: answer(request))
        return getattr(grpc, f"{kind}_rpc_method_handler")(
            function, request_deserializer=asked.FromString, response_serializer=lambda message: message.SerializeToString())

    handlers = {name: handler(method) for name, method in methods(path).items()}
    packing = grpc.Compression[packed.capitalize() if packed in ("gzip", "deflate") else packed]
    server = grpc.server(futures.ThreadPoolExecutor(8), compression=packing)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def one(channel: grpc.Channel, method, how: str, text: str, metadata: list) -> str:
    asked, answered = classes(method)
    encode = bytes.fromhex if how == "raw" else lambda value: json_format.ParseDict(value, asked()).SerializeToString()
    value = text if how == "raw" and not method.client_streaming else json.loads(text)
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channel, kind)(f"/{SERVICE}/{method.name}", request_serializer=encode, response_deserializer=answered.FromString)
    compression = grpc.Compression.Gzip if how == "gzip" else None
    answers, answered_one = [], threading.Semaphore(1 if how == "paced" else len(value) + 1)

    def paced():
        for each in value:
            answered_one.acquire()
            yield each

    try:
        answer = call(paced() if method.client_streaming else value, metadata=metadata, timeout=20, compression=compression)
        for each in answer if method.server_streaming else [answer]:
            answers.append(json_format.MessageToDict(each))
            answered_one.release()
        return f"OK: {json.dumps(answers)}"
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}{f' after {json.dumps(answers)}' if answers else ''}"


def hold_open(channel: grpc.Channel, method, text: str, metadata: list) -> None:
    """Sends one message, and no end."""
    asked, answered = classes(method)
    over = threading.Event()

    def messages():
        yield json_format.ParseDict(json.loads(text), asked())
        over.wait()

    try:
        for _ in channel.stream_stream(f"/{SERVICE}/{method.name}", asked.SerializeToString, answered.FromString)(
                messages(), metadata=metadata, timeout=60):
            print("answered", flush=True)
    except grpc.RpcError as error:
        print(error.code().name, flush=True)
    finally:
        over.set()


def silent(address: str, authority: str, token: str, method: str) -> None:
    head = [(":method", "POST"), (":scheme", "http"), (":path", f"/{SERVICE}/{method}"), (":authority", authority),
            ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "500m"), ("authorization", f"Bearer {token}")]
    with socket.create_connection(address.rsplit(":", 1), timeout=25) as connection:
        begun = frames.HeadersFrame(1, data=hpack.Encoder().encode(head), flags=["END_HEADERS"])
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames.SettingsFrame(0).serialize() + begun.serialize())
        stream = connection.makefile("rb")
        while True:
            frame, length = frames.Frame.parse_frame_header(memoryview(stream.read(9)))
            frame.parse_body(memoryview(stream.read(length)))
            if isinstance(frame, frames.HeadersFrame):
                answer = {name: value for name, value in hpack.Decoder().decode(frame.data)}
                return print(answer.get("grpc-status"), flush=True)


def main() -> None:
    if sys.argv[1] == "silent":
        return silent(*sys.argv[2:])
    if sys.argv[1] == "serve":
        return serve(*sys.argv[2:])
    _, action, address, authority, token, path, *calls = sys.argv
    known = methods(path)
    options = [("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options) as channel:
        for call in calls:
            name, text = call.split(" ", 1)
            if action == "open":
                return hold_open(channel, known[name], text, [("authorization", f"Bearer {token}")])
            name, _, how = name.partition(":")
            print(one(channel, known[name], how, text, [("authorization", f"Bearer {token}")]), flush=True)


if __name__ == "__main__":
    main()
