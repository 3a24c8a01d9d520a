# Makes the tables from the results: lines of
#     pair TAB group TAB case TAB implementation TAB value TAB unit TAB key=number ...
# A pair is one measurement of a peer and those of conc.h that followed it at once. For each implementation: the
# median of its values and their range; and the median over the pairs of how many times as fast conc.h was.
# What was measured while others kept the machine busy ("others" above 0.2) counts only where there is nothing
# else, and is marked with ~.
# With -v plots=DIR also writes, for each group, DIR/GROUP.dat and DIR/GROUP.gp for gnuplot.

BEGIN { FS = "\t" }

function is_conc(name) { return name ~ /^conc/ }
function is_rate(unit) { return unit ~ /\/s/ }

# the median of list[prefix 1 .. prefix n], which it sorts
function median(list, prefix, n,    i, j, x) {
    for (i = 2; i <= n; i++) {
        x = list[prefix, i]
        for (j = i - 1; j >= 1 && list[prefix, j] > x; j--) list[prefix, j + 1] = list[prefix, j]
        list[prefix, j + 1] = x
    }
    return n % 2 ? list[prefix, (n + 1) / 2] : (list[prefix, n / 2] + list[prefix, n / 2 + 1]) / 2
}

function number(x) {
    if (x >= 1000) return sprintf("%.0f", x)
    if (x >= 100) return sprintf("%.1f", x)
    if (x >= 1) return sprintf("%.2f", x)
    return sprintf("%.3f", x)
}

# Whether one more value of `key` is to be kept; the first quiet one throws out the noisy ones before it.
function keep(key, noisy) {
    if (!noisy && !(key in quiet)) {
        quiet[key] = 1
        value_count[key] = 0
    }
    return !noisy || !(key in quiet)
}

NF >= 6 {
    pair = $1; group = $2; name = $3; impl = $4; value = $5 + 0
    if (!(group in groups)) { groups[group] = ++group_count; group_name[group_count] = group }
    gc = group SUBSEP name
    if (!(gc in cases)) { cases[gc] = ++case_count[group]; case_name[group, case_count[group]] = name }
    gci = gc SUBSEP impl
    if (!(gci in impls)) {
        impls[gci] = ++impl_count[gc]; impl_name[gc, impl_count[gc]] = impl; unit[gci] = $6
        gi = group SUBSEP impl
        if (!(gi in seen)) {
            seen[gi] = 1
            group_impl[group, ++group_impls[group]] = impl
            if (is_conc(impl)) conc_name[group, ++conc_count[group]] = impl
        }
    }
    n = split($7, fields, " ")
    noisy = 0
    for (i = 1; i <= n; i++) {
        split(fields[i], kv, "=")
        if (kv[1] == "others" && kv[2] > 0.2) noisy = 1
    }
    if (keep(gci, noisy)) {
        if (value_count[gci] == 0) for (i = 1; i <= extras[gci]; i++) extra_count[gci, extra_name[gci, i]] = 0
        values[gci, ++value_count[gci]] = value
        for (i = 1; i <= n; i++) {
            split(fields[i], kv, "=")
            key = gci SUBSEP kv[1]
            if (!(key in extra_count)) { extra_name[gci, ++extras[gci]] = kv[1] }
            extra[key, ++extra_count[key]] = kv[2] + 0
        }
    }
    if (is_conc(impl)) {
        if ((pair SUBSEP gc) in peer_value && value > 0 && peer_value[pair, gc] > 0) {
            r = is_rate($6) ? value / peer_value[pair, gc] : peer_value[pair, gc] / value
            key = gc SUBSEP peer_impl[pair, gc] SUBSEP impl
            if (keep(key, noisy || peer_noisy[pair, gc])) ratio[key, ++value_count[key]] = r
        }
    } else {
        peer_value[pair, gc] = value
        peer_impl[pair, gc] = impl
        peer_noisy[pair, gc] = noisy
    }
}

END {
    for (g = 1; g <= group_count; g++) {
        group = group_name[g]
        printf "\n## %s\n", group
        widest = 14
        for (i = 1; i <= group_impls[group]; i++)
            if (length(group_impl[group, i]) > widest) widest = length(group_impl[group, i])
        for (c = 1; c <= case_count[group]; c++) {
            name = case_name[group, c]
            gc = group SUBSEP name
            first = gc SUBSEP impl_name[gc, 1]
            printf "\n%s (%s, %s is better)\n", name, unit[first], is_rate(unit[first]) ? "more" : "less"
            printf "  %-" widest "s %9s %19s", "", "median", "from to"
            for (k = 1; k <= conc_count[group]; k++) {
                one = conc_name[group, k]
                if ((gc SUBSEP one) in impls) printf " %13s", one "/this"
            }
            printf "\n"
            for (i = 1; i <= impl_count[gc]; i++) {
                impl = impl_name[gc, i]
                gci = gc SUBSEP impl
                m = median(values, gci, value_count[gci])
                printf "  %-" widest "s %9s%s%9s %9s", impl, number(m), gci in quiet ? " " : "~",
                    number(values[gci, 1]), number(values[gci, value_count[gci]])
                for (k = 1; k <= conc_count[group]; k++) {
                    one = conc_name[group, k]
                    if (!((gc SUBSEP one) in impls)) continue
                    key = gci SUBSEP one
                    wide = length(one "/this") > 13 ? length(one "/this") : 13
                    if (value_count[key] > 0) {
                        r = median(ratio, key, value_count[key])
                        printf " %" wide - 1 ".2f%s", r, key in quiet ? " " : "~"
                        if (k == 1) relative[gci] = 1 / r
                    } else {
                        printf " %" wide "s", ""
                    }
                }
                text = ""
                for (e = 1; e <= extras[gci]; e++) {
                    key = gci SUBSEP extra_name[gci, e]
                    text = text sprintf("  %s %.2f", extra_name[gci, e], median(extra, key, extra_count[key]))
                }
                printf "%s\n", text
            }
        }
        if (plots != "") plot(group)
    }
}

# Bars: how many times as fast as conc.h (the first kind, where there are two) each implementation is.
function plot(group,    dat, gp, c, i, gc, gci, impl, first, count, r, xtic) {
    dat = plots "/" group ".dat"
    gp = plots "/" group ".gp"
    first = conc_name[group, 1]
    if (first == "") return
    count = 0
    for (c = 1; c <= case_count[group]; c++) {
        gc = group SUBSEP case_name[group, c]
        if (!((gc SUBSEP first) in impls) || impl_count[gc] < 2) continue
        count++
        printf "\"%s\"", case_name[group, c] > dat
        for (i = 1; i <= group_impls[group]; i++) {
            impl = group_impl[group, i]
            gci = gc SUBSEP impl
            if (impl == first) printf "\t1" > dat
            else if (gci in relative) printf "\t%.4g", relative[gci] > dat
            else if (is_conc(impl) && gci in impls) {
                r = median(values, gci, value_count[gci])
                r /= median(values, gc SUBSEP first, value_count[gc SUBSEP first])
                printf "\t%.4g", is_rate(unit[gci]) ? r : 1 / r > dat
            } else printf "\t?" > dat
        }
        printf "\n" > dat
    }
    if (count == 0) return
    close(dat)
    printf "set terminal svg size %d,480 dynamic background rgb 'white'", 240 + count * 170 > gp
    printf " font 'sans-serif,12'\n" > gp
    printf "set output '%s/%s.svg'\n", plots, group > gp
    printf "set title '%s: speed, where %s is 1 (log scale; longer is faster)'\n", group, first > gp
    printf "set style data histograms\nset style histogram clustered gap 2\n" > gp
    printf "set style fill solid 0.85 noborder\n" > gp
    printf "set datafile missing '?'\nset datafile separator '\\t'\nset logscale y 2\nset grid ytics\n" > gp
    printf "set key outside right\nset xtics rotate by -20\nset yrange [1.0/64:*]\n" > gp
    printf "plot 1 with lines dt 2 lc rgb 'black' notitle" > gp
    for (i = 1; i <= group_impls[group]; i++) {
        xtic = i == 1 ? ":xtic(1)" : ""
        printf ", '%s' using %d%s title \"%s\" noenhanced", dat, i + 1, xtic, group_impl[group, i] > gp
    }
    printf "\n" > gp
    close(gp)
}
