# One thing that would open the gate.
way-automatic = At once
way-reviews =
    { $n ->
        [one] With one review
       *[other] With { $n } reviews
    }
way-emergency = Emergency: at once, reviewed afterwards
way-emergency-what = Opens all of the service that its rule matches. Everybody who may review is alerted, and it stays an open item until somebody has looked at it.
way-longest = for { $duration } at most
way-uses =
    { $n ->
        [one] one request
       *[other] { $n } requests
    }
way-idle = ends when unused for { $duration }
way-incident = incident
way-reviewers = Who can review:
way-to-be-checked = Still to be checked:
way-rule = rule
