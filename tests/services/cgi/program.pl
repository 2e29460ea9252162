# A CGI program. It splits queries as CGI.pm does, and cookies as CGI::Cookie does.
use strict;
use warnings;

# JSON of a hash of texts, of a list of them, or of a text, each byte a character.
sub json {
    my ($value) = @_;
    return 'null' unless defined $value;
    return '[' . join(',', map { json($_) } @$value) . ']' if ref $value eq 'ARRAY';
    return '{' . join(',', map { json($_) . ':' . json($value->{$_}) } sort keys %$value) . '}'
        if ref $value;
    $value =~ s/([^ !#-\[\]-~])/sprintf '\\u%04x', ord $1/ge;
    return "\"$value\"";
}

sub decoded {
    my ($text) = @_;
    $text =~ s/%([0-9a-fA-F]{2})/chr hex $1/ge;
    return $text;
}

sub pairs {
    my ($separator, $text) = @_;
    my %pairs;
    for my $pair (split $separator, $text // '') {
        my ($name, $value) = split /=/, $pair, 2;
        next unless defined $name;
        $name =~ s/^\s+//;
        $name =~ tr/+/ /;
        my $once = decoded($name);
        $pairs{$once} = decoded($value // '') unless exists $pairs{$once};
    }
    return \%pairs;
}

my ($raw) = split /[?]/, $ENV{REQUEST_URI};
my ($host) = split /:/, $ENV{HTTP_HOST} // '';
my %headers = map { $_ => $ENV{$_} } grep { /^HTTP_/ } keys %ENV;
my @bearer = ($ENV{HTTP_AUTHORIZATION} // '') =~ /^\s*Bearer\s+(\S+)/i;
print "Content-Type: application/json\n\n", json({
    service => 'cgi',
    method => $ENV{REQUEST_METHOD},
    target => $ENV{REQUEST_URI},
    paths => {
        PATH_INFO => $ENV{PATH_INFO},
        SCRIPT_NAME => $ENV{SCRIPT_NAME} . ($ENV{PATH_INFO} // ''),
        REQUEST_URI => decoded($raw),
    },
    hosts => { SERVER_NAME => $ENV{SERVER_NAME}, HTTP_HOST => $host },
    headers => \%headers,
    trailers => {},
    query => pairs('[&;]', $ENV{QUERY_STRING}),
    cookies => pairs('[;,] ?', $ENV{HTTP_COOKIE}),
    bearer => \@bearer,
});
