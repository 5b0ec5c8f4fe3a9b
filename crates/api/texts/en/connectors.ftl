connectors-title = Connected systems
connectors-none = Nothing is connected. Section connectors of the configuration brings access requests to Slack, Teams and mailboxes, and takes incidents and schedules from where they are kept.
connectors-system = System
connectors-state = State
connectors-last = Last
connectors-waiting =
    { $n ->
        [one] one message waits
       *[other] { $n } messages wait
    }
connectors-set-aside =
    { $n ->
        [one] one is set aside
       *[other] { $n } are set aside
    }
connectors-working = working
connectors-resting = left alone
connectors-failing = failing
connectors-unknown = nothing known yet
connectors-since = since
connectors-until = until
connectors-answered = answered
connectors-heard = wrote
connectors-nothing = nothing since the start
connectors-known-until = What it keeps is known until
connectors-unknown-since = What it keeps is unknown since
connectors-behind =
    { $n ->
        [one] one entry of the record behind
       *[other] { $n } entries of the record behind
    }
connectors-refused = A message in its name did nothing,
