grant-title = Grant
grant-in-force = In force
grant-over = Over: its window has closed.
grant-ended = Over: it { $why }
grant-holder = Holder
grant-opens = Opens
grant-window = From, until
grant-uses = Uses
grant-idle = Ends when unused for
grant-how = How
grant-request = the access request
grant-connections = Live connections
grant-record = On record at
grant-proof = proof
grant-revoke = Revoke
grant-revoke-send = Revoke it
grant-closes =
    { $n ->
        [0] This ends it now, and it opens nothing any more. No connection is open by it.
        [one] This ends it now, and closes one live connection.
       *[other] This ends it now, and closes { $n } live connections.
    }
