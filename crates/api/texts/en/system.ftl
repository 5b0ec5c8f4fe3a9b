system-title = System
system-not-allowed = seeing the system takes viewAudit or administer
system-serving = Serving
system-ready = It serves.
system-version = Version
system-replicas = Replicas
system-alone = This process serves alone, with a store of its own.
system-record = The record
system-origin = Log
system-size = Entries
system-root = Root
system-keys = Keys
system-keep = Keep a copy of the checkpoint elsewhere: whoever holds one finds every later change of what it covers.
system-note = The newest checkpoint, signed
system-deliveries = Deliveries
system-no-sinks = The record goes nowhere else. Sections exports and alerts of the configuration send it to your SIEM, a file or a webhook.
system-sink = Where to
system-state = State
system-behind = Behind
system-delivered = Delivered
system-failing = failing since
system-working = last
system-nothing-yet = nothing yet
system-test = Send a test
system-undelivered = Set aside
system-undelivered-note = What receivers refused for good, or did not take in time. Nothing here is sent again by itself.
system-receiver = Receiver
system-message = Message
system-set-aside = Set aside
system-why = Why
system-redeliver = Send again
system-drop = Drop
system-alerts = Alerts
system-no-alerts = Nobody is called for anything. Section alerts of the configuration says what for, and whom.
system-rule = Rule
system-looks-for = Looks for
system-calls = Calls
system-fired = Fired
system-times =
    { $n ->
        [0] not since the start
        [one] once since the start
       *[other] { $n } times since the start
    }
