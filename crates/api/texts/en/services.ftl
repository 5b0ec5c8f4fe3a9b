services-title = Services
services-none = No policy shows you any service. Whoever runs Portcullis can add a rule for one of your groups.
services-back = Services
services-record = On record
services-hosts = Hosts
services-instances = Instances
services-no-instances = none is known at the moment
services-up-of = { $up } of { $all } up
services-up = up
services-unwell = unwell
services-ejected = left out for a while
services-n-open = { $n } open
services-n-requestable = { $n } can be asked for
services-n-closed = { $n } closed
services-operations = Operations
services-operation = Operation
services-reach = You
services-ways = Ways to it
services-open = open
services-conditional = open, under conditions
services-conditions = Conditions
services-requestable = ask for it
services-closed = closed
services-classes = Sensitive data
services-classes-what = Masked in answers, unless policy or a grant lets you see it.
services-class = Class
services-reviews =
    { $n ->
        [one] one review
       *[other] { $n } reviews
    }
services-at-most = at most { $window }
services-incident = for incident
services-reviewers = can be reviewed by
