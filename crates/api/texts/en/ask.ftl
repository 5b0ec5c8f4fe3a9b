ask-title = Ask for access
ask-lead = Choose a service. You see what is not open to you and can be asked for.
ask-nothing = There is nothing to ask for: all that policies show you is open to you, or closed for good.
ask-nothing-here = Nothing of this service can be asked for.
ask-all-services = All services
ask-which = Which operations of { $service }?
ask-at-once = at once
ask-reviewed = reviewed, for example by
ask-only-this = Ask for { $operation } alone
ask-go-on = Go on with those ticked
ask-operations =
    { $n ->
        [one] one operation
       *[other] { $n } operations
    }
ask-open = { $n } open already
ask-classes =
    { $n ->
        [one] one class of data
       *[other] { $n } classes of data
    }
ask-how-title = Ask for access
ask-refused-title = This was refused. You can ask for it
ask-refused = Refused
ask-when = When
ask-code = Code
ask-instance = Instance
ask-open-already = Open to you already: { $operations }
ask-ways = What would open it
ask-reveal = See data that is masked
ask-where = Where
ask-anywhere = Anywhere
ask-why = Why
ask-why-hint = What you are about to do, and for whom. Reviewers read it first.
ask-how-long = For how long
ask-longest = As long as the way allows
ask-send = Ask
ask-no-way = Nothing would open this at the moment, or it is open already: try the page again. If you should be able to ask, talk to whoever writes your policies.
ask-no-need = There is nothing to ask for: use it.
ask-back = Back to the page that was refused
