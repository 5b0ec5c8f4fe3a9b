home-title = Home
home-welcome-title = Portcullis
home-welcome = The gate in front of your services. Sign in to see what you can reach, ask for what you cannot, and answer others.
home-sign-in = Sign in
home-command-line = Or on the command line:
home-ask = Ask for access
home-to-review =
    { $n ->
        [one] One access request waits for you
        [99] 99 access requests or more wait for you
       *[other] { $n } access requests wait for you
    }
home-grants = My grants
home-no-grants = You hold no grant. Whatever is open to you below needs none; for the rest, ask, and it shows up here with its clock.
home-left-out = { $n } more are not shown here.
home-until = until
home-uses = { $used } of { $of } uses
home-incident = incident
home-extend = Extend
home-extend-for = For how much longer
home-extend-send = Ask for more time
home-reason = Why
home-give-back = Give back
home-give-back-what = This ends your grant for { $operation } now. Connections that it opened are closed.
home-give-back-send = Give it back
home-waiting = Waiting for an answer
home-reach = What I can reach
home-no-services = No policy shows you any service yet. Whoever runs Portcullis can add a rule for one of your groups.
home-service = Service
home-open = Open
home-requestable = Can be asked for
home-closed = { $n } closed
