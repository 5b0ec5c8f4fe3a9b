"""A grpcio server, and a grpcio client that talks to it through the gate.

    grpc_peer.py serve PORT
    grpc_peer.py local ADDRESS                           the same at a local endpoint, with no token and no other host
    grpc_peer.py imitated ADDRESS CODE                   one call that the server answers as a gate refuses; prints how it
                                                         ended, and the names of the gate's that were in its metadata
    grpc_peer.py check GATE_ADDRESS AUTHORITY TOKEN      exits 0 and prints `ok` if everything held
    grpc_peer.py unary GATE_ADDRESS AUTHORITY TOKEN SECONDS   prints how one call ended; a line `cancel` on the
                                                              standard input cancels it, `again` makes another
    grpc_peer.py stream GATE_ADDRESS AUTHORITY TOKEN     prints each message of an endless stream, then how it ended
"""

import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "/echo.Echo/"


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "kept"), ("x-seen-authorization", "authorization" in dict(context.invocation_metadata()) and "yes" or "no")))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as you asked: äöü %")
    if request.startswith(b"imitate:"):
        code = request.decode().partition(":")[2]
        mark = (("portcullis-refusal", f'requestable;id="{code}"'), ("portcullis_refusal", "unauthenticated"))
        context.send_initial_metadata(mark)
        context.set_trailing_metadata(mark)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f"grpc.Unary on grpc needs a grant; portcullis ask {code}")
    if request == b"sleep":
        time.sleep(5)
    return b"echo:" + request


def server_stream(request, context):
    count, number = int(request), 0
    while (count == 0 or number < count) and context.is_active():
        yield str(number).encode()
        number += 1
        if count == 0:
            time.sleep(0.05)


def client_stream(requests, _context):
    return b"|".join(requests)


def bidi(requests, _context):
    for request in requests:
        yield b"echo:" + request


def serve(port: str) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(32))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def check(channel: grpc.Channel, metadata: list) -> None:
    calls(channel, metadata)
    call = channel.unary_unary(SERVICE + "Unary")
    expect(lambda: call(b"hello", timeout=10), grpc.StatusCode.UNAUTHENTICATED)
    expect(lambda: channel.unary_unary("/echo.Echo/Forbidden")(b"", metadata=metadata, timeout=10), grpc.StatusCode.PERMISSION_DENIED)
    expect(lambda: channel.unary_unary("/none.None/Here")(b"", metadata=metadata, timeout=10), grpc.StatusCode.PERMISSION_DENIED)
    print("ok")


def local(address: str) -> None:
    """Through a local endpoint: no credentials, no host but the address."""
    with grpc.insecure_channel(address) as channel:
        calls(channel, [])
        expect(lambda: channel.unary_unary("/echo.Echo/Forbidden")(b"", timeout=10), grpc.StatusCode.PERMISSION_DENIED)
    print("ok")


def imitated(address: str, code: str) -> None:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(SERVICE + "Unary").future(f"imitate:{code}".encode(), timeout=10)
        said = [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]
        names = sorted({name for name, _ in said if "refusal" in name})
        print(f"{call.code().name}: {call.details()} {names}")


def calls(channel: grpc.Channel, metadata: list) -> None:
    call = channel.unary_unary(SERVICE + "Unary")
    answer, done = call.with_call(b"hello", metadata=metadata, timeout=10)
    assert answer == b"echo:hello", answer
    trailers = dict(done.trailing_metadata())
    assert trailers["x-trailer"] == "kept", trailers
    assert trailers["x-seen-authorization"] == "no", "the credential reached the upstream"

    big = b"x" * 3_000_000
    assert call(big, metadata=metadata, timeout=10) == b"echo:" + big

    assert list(channel.unary_stream(SERVICE + "ServerStream")(b"500", metadata=metadata, timeout=10)) == [
        str(n).encode() for n in range(500)]
    parts = [str(n).encode() for n in range(200)]
    assert channel.stream_unary(SERVICE + "ClientStream")(iter(parts), metadata=metadata, timeout=10) == b"|".join(parts)

    ping = threading.Semaphore(1)

    def questions():
        for number in range(20):
            ping.acquire()
            yield str(number).encode()

    for number, message in enumerate(channel.stream_stream(SERVICE + "Bidi")(questions(), metadata=metadata, timeout=10)):
        assert message == b"echo:" + str(number).encode(), message
        ping.release()

    expect(lambda: call(b"fail", metadata=metadata, timeout=10), grpc.StatusCode.FAILED_PRECONDITION, "as you asked: äöü %")
    started = time.monotonic()
    expect(lambda: call(b"sleep", metadata=metadata, timeout=0.5), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert time.monotonic() - started < 2

    endless = channel.unary_stream(SERVICE + "ServerStream")(b"0", metadata=metadata)
    next(endless)
    endless.cancel()


def expect(call, code: grpc.StatusCode, details: str | None = None) -> None:
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        assert details is None or error.details() == details, error.details()
    else:
        raise AssertionError(f"no {code}")


def stream(channel: grpc.Channel, metadata: list) -> None:
    try:
        for message in channel.unary_stream(SERVICE + "ServerStream")(b"0", metadata=metadata):
            print(message.decode(), flush=True)
        print("ended: OK", flush=True)
    except grpc.RpcError as error:
        print(f"ended: {error.code().name}: {error.details()}", flush=True)


def one(channel: grpc.Channel, metadata: list, seconds: str) -> None:
    """Calls, and says how it ended, until the standard input is over."""
    lines = iter(sys.stdin.readline, "")
    while True:
        call = channel.unary_unary(SERVICE + "Unary").future(b"hello", metadata=metadata, timeout=float(seconds))
        call.add_done_callback(tell)
        for line in lines:
            if line.strip() == "again":
                break
            call.cancel()
        else:
            return


def tell(call: grpc.Future) -> None:
    outcome = call.code().name
    said = call.result().decode() if call.code() == grpc.StatusCode.OK else call.details()
    print(outcome if outcome == "CANCELLED" else f"{outcome}: {said}", flush=True)


def main() -> None:
    if sys.argv[1] == "serve":
        return serve(sys.argv[2])
    if sys.argv[1] == "local":
        return local(sys.argv[2])
    if sys.argv[1] == "imitated":
        return imitated(*sys.argv[2:])
    _, action, address, authority, token, *more = sys.argv
    options = [("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0),
               ("grpc.max_receive_message_length", 8_000_000)]
    with grpc.insecure_channel(address, options) as channel:
        {"check": check, "stream": stream, "unary": one}[action](channel, [("authorization", f"Bearer {token}")], *more)


if __name__ == "__main__":
    main()
